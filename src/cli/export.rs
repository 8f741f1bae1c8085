//! `cascadeck export`: writes a run's results in input order.

use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    CliError, export_target,
    print::{EXIT_DONE, finish_stdout, print_stderr},
};
use crate::{
    domain::pluralize,
    output::{ExportFormat, ExportOptions, Exporter},
    store::{RunDir, Store, StoreError, report},
};

/// Write a run's results in input order
#[derive(Args, Clone, Debug)]
pub(super) struct ExportArgs {
    #[arg(value_name = "RUN_DIR")]
    pub run_dir: PathBuf,

    /// Output format
    #[arg(long, value_name = "NAME", default_value = "jsonl")]
    pub format: ExportFormat,

    /// Write to FILE instead of standard output (`-`); an existing file is replaced only if it is empty or an earlier
    /// export
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Put an apostrophe before CSV cells that a spreadsheet would treat as a formula
    #[arg(long)]
    pub no_formulas: bool,
}

enum ExportError {
    Store(StoreError),
    Output(io::Error),
}

impl From<StoreError> for ExportError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

pub(super) fn run(args: &ExportArgs) -> Result<u8, CliError> {
    let file = args.output.as_deref().filter(|path| *path != Path::new("-"));
    let written = match file {
        Some(path) => write(args, BufWriter::new(export_target::open(&args.run_dir, path)?)),
        None => write(args, BufWriter::new(io::stdout().lock())),
    };
    match written {
        Ok(rows) => {
            // Flush standard output, since its buffer may contain the last line.
            finish_stdout(Ok(()))?;
            if let Some(path) = file {
                print_stderr(&format!("{} written to {}", pluralize(rows, "result"), path.display()));
            }
            Ok(EXIT_DONE)
        }
        // The reader closed the pipe because it needs no more: not an error.
        Err(ExportError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(EXIT_DONE),
        Err(ExportError::Output(error)) => Err(CliError::internal(format!("the export could not be written: {error}"))),
        Err(ExportError::Store(error)) => Err(error.into()),
    }
}

fn write(args: &ExportArgs, out: impl Write) -> Result<u64, ExportError> {
    // A damaged run is reported when its results are read.
    let pins = Store::settings_of(&RunDir::new(&args.run_dir)).ok();
    let caption_rules = pins.and_then(|pins| pins.caption_rules).unwrap_or_default();
    let options = ExportOptions { caption_rules, escape_formulas: args.no_formulas };
    let mut exporter = Exporter::new(args.format, options, out).map_err(ExportError::Output)?;
    let mut rows = 0;
    report::for_each_result(&args.run_dir, |line| {
        rows += 1;
        exporter.write(&line.parse()?).map_err(ExportError::Output)
    })?;
    exporter.finish().map_err(ExportError::Output)?;
    Ok(rows)
}
