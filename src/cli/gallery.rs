//! `cascadeck gallery`: a page with the pictures of a run and their captions.

use std::{
    collections::HashMap,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use ring::digest;

use super::{
    CliError, export_target,
    print::{EXIT_DONE, finish_stdout, print_stderr},
};
use crate::{
    domain::{CaptionRules, FinalState, Image, ResultLine, Seq, pluralize},
    output::GALLERY_FIRST_LINE,
    provider::thumbnail,
    store::{ItemLoader, RunDir, Store, StoreError, report},
};

/// Longest side of a thumbnail in pixels.
const THUMBNAIL_SIDE: u32 = 320;
/// Number of items that are loaded at once.
const LOAD_BATCH_ITEMS: usize = 256;

const STYLE: &str = "\
:root{color-scheme:light dark;font:15px/1.45 system-ui,sans-serif}body{margin:1.5rem}\
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(18rem,1fr));gap:1rem;margin-top:1rem}\
figure{margin:0;padding:.75rem;border:1px solid #8886;border-radius:.5rem;overflow-wrap:anywhere}\
img{display:block;max-width:100%;max-height:20rem;margin:0 auto .5rem}\
.name{font-weight:600}.facts{font-size:.85em;opacity:.75}.failed{border-color:#c33}.reason{color:#c33}\
label{margin-right:1rem}\
#done:checked~main .failed,#failed:checked~main .done,#short:checked~main :not(.short):is(figure),\
#long:checked~main :not(.long):is(figure),#twice:checked~main :not(.twice):is(figure){display:none}";

/// Show the pictures of a run with their captions, as one page that can be sent to somebody
#[derive(Args, Clone, Debug)]
pub(super) struct GalleryArgs {
    #[arg(value_name = "RUN_DIR")]
    pub run_dir: PathBuf,

    /// Write the page to FILE, or to standard output (`-`). It has no script and requests nothing
    #[arg(long, value_name = "FILE")]
    pub html: PathBuf,
}

/// A caption with fewer characters is called short, and one with more long.
const SHORT_CHARS: usize = 40;
const LONG_CHARS: usize = 600;

/// A picture of the page.
struct Entry {
    line: ResultLine,
    caption: String,
    picture: Option<PathBuf>,
}

pub(super) async fn run(args: GalleryArgs) -> Result<u8, CliError> {
    let dir = RunDir::new(&args.run_dir);
    let pins = Store::settings_of(&dir)?;
    let entries = load_entries(&dir, &pins.caption_rules.unwrap_or_default()).await?;
    let count = entries.len() as u64;
    let is_stdout = args.html == Path::new("-");
    let written = if is_stdout {
        write_page(&entries, &dir.name(), BufWriter::new(io::stdout().lock()))
    } else {
        let file = export_target::open(&args.run_dir, &args.html)?;
        write_page(&entries, &dir.name(), BufWriter::new(file))
    };
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(EXIT_DONE),
        Err(error) => return Err(CliError::internal(format!("the gallery could not be written: {error}"))),
        Ok(()) => {}
    }
    finish_stdout(Ok(()))?;
    if !is_stdout {
        print_stderr(&format!("{} written to {}", pluralize(count, "picture"), args.html.display()));
    }
    Ok(EXIT_DONE)
}

async fn load_entries(dir: &RunDir, rules: &CaptionRules) -> Result<Vec<Entry>, CliError> {
    let mut lines: Vec<(Seq, ResultLine)> = Vec::new();
    report::for_each_result(dir.path(), |line| -> Result<(), StoreError> {
        lines.push((line.seq, line.parse()?));
        Ok(())
    })?;
    let loader = ItemLoader::start(dir)?;
    let mut pictures: HashMap<Seq, PathBuf> = HashMap::new();
    let seqs: Vec<Seq> = lines.iter().map(|(seq, _)| *seq).collect();
    for batch in seqs.chunks(LOAD_BATCH_ITEMS) {
        for item in loader.load(batch.to_vec()).await?.items {
            // The picture to caption comes last, after examples.
            let files = item.spec.request.images().filter_map(|image| match image {
                Image::File(path) => Some(path.clone()),
                Image::Url(_) | Image::Inline { .. } => None,
            });
            pictures.extend(files.last().map(|path| (item.seq, path)));
        }
    }
    let to_entry = |(seq, line): (Seq, ResultLine)| {
        let answer = line.output.as_deref().unwrap_or_default();
        let caption = rules.caption_from(answer);
        Entry { caption, picture: pictures.remove(&seq), line }
    };
    Ok(lines.into_iter().map(to_entry).collect())
}

fn write_page(entries: &[Entry], run_name: &str, mut out: impl Write) -> io::Result<()> {
    let style_hash = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
    let failed = entries.iter().filter(|entry| entry.line.status == FinalState::Failed).count();
    let mut caption_counts: HashMap<&str, usize> = HashMap::new();
    for entry in entries.iter().filter(|entry| !entry.caption.is_empty()) {
        *caption_counts.entry(&entry.caption).or_default() += 1;
    }
    let name = escape(run_name);
    write!(
        out,
        "{GALLERY_FIRST_LINE}\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src \
         'sha256-{style_hash}'; base-uri 'none'; form-action 'none'\">\
         <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"referrer\" content=\"no-referrer\">\
         <title>{name}</title><style>{STYLE}</style></head><body><h1>{name}</h1>\
         <p>{} pictures, {failed} failed</p>",
        entries.len()
    )?;
    for (id, label) in [
        ("all", "all"),
        ("done", "with a caption"),
        ("failed", "failed"),
        ("short", "short captions"),
        ("long", "long captions"),
        ("twice", "captions that several pictures have"),
    ] {
        let checked = if id == "all" { " checked" } else { "" };
        write!(out, "<input type=\"radio\" name=\"shown\" id=\"{id}\"{checked}><label for=\"{id}\">{label}</label>")?;
    }
    out.write_all(b"<main>")?;
    for entry in entries {
        let repeats = caption_counts.get(entry.caption.as_str()).copied().unwrap_or_default();
        write_entry(entry, repeats, &mut out)?;
    }
    out.write_all(b"</main></body></html>\n")?;
    out.flush()
}

fn write_entry(entry: &Entry, repeats: usize, out: &mut impl Write) -> io::Result<()> {
    let Entry { line, caption, picture } = entry;
    let is_failed = line.status == FinalState::Failed;
    let chars = caption.chars().count();
    let mut classes = vec![if is_failed { "failed" } else { "done" }];
    for (is_so, class) in [
        (!is_failed && chars < SHORT_CHARS, "short"),
        (!is_failed && chars > LONG_CHARS, "long"),
        (!is_failed && repeats > 1, "twice"),
    ] {
        classes.extend(is_so.then_some(class));
    }
    write!(out, "<figure class=\"{}\">", classes.join(" "))?;
    let mut picture_fault = None;
    match picture.as_deref().map(|path| thumbnail(path, THUMBNAIL_SIDE)) {
        Some(Ok((mime, bytes))) => {
            write!(out, "<img alt=\"{}\" src=\"data:{mime};base64,{}\">", escape(caption), STANDARD.encode(bytes))?;
        }
        Some(Err(error)) => picture_fault = Some(error.to_string()),
        None => {}
    }
    write!(out, "<figcaption><div class=\"name\">{}</div>", escape(&line.id))?;
    if !caption.is_empty() {
        write!(out, "<div>{}</div>", escape(caption))?;
    }
    let reason = line.error.as_ref().map(|error| format!("{}: {}", error.outcome.name(), error.message));
    for reason in [reason, picture_fault.filter(|_| !is_failed)].into_iter().flatten() {
        write!(out, "<div class=\"reason\">{}</div>", escape(&reason))?;
    }
    if let Some(model) = &line.model {
        write!(out, "<div class=\"facts\">{}, {chars} characters</div>", escape(model))?;
    }
    out.write_all(b"</figcaption></figure>")
}

/// Text that is safe in HTML, also in attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}
