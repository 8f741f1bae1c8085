//! Options for captions: what is asked for, and what of an answer is written.

use std::{
    fs, io,
    path::{self, Path, PathBuf},
};

use clap::{Args, ValueEnum};

use super::options::named_value;
use crate::{
    domain::{CaptionRules, CleanupStep, PictureType, has_trigger},
    input::{CaptionExample, is_picture},
};

/// A kind of caption, with a prompt for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum CaptionStyle {
    /// One sentence
    Brief,
    /// A paragraph for training
    Detailed,
    /// Words separated by commas
    Tags,
    /// For people who can't see the picture
    AltText,
    /// Tags as on Danbooru
    Danbooru,
}

impl CaptionStyle {
    pub const fn prompt(self) -> &'static str {
        match self {
            Self::Brief => {
                "Describe this picture in one short sentence: the subject and what it does. Write only the sentence."
            }
            Self::Detailed => {
                "Describe this picture for a training caption: its subject, what happens, the setting, the composition, \
                 colours, light and style, in one paragraph of plain text. Describe only what can be seen. Write only the \
                 description."
            }
            Self::Tags => {
                "List what this picture shows as tags: 10 to 30 words or short phrases in lower case, separated by commas, \
                 the most important first: subject, attributes, actions, setting, colours, style. Write only the tags."
            }
            Self::AltText => {
                "Write the alternative text of this picture for people who can't see it: what matters in it, in one or two \
                 sentences of at most 125 characters. Don't begin with \"picture of\" or \"image of\". If it contains \
                 text that matters, quote it. Write only the alternative text."
            }
            Self::Danbooru => {
                "Write the tags of this picture as on Danbooru: in lower case, with underscores within a tag, separated by \
                 commas: the number of persons (1girl, 2boys, no_humans), appearance, clothes, pose, expression, \
                 objects, background, composition, style. Write only the tags."
            }
        }
    }
}

/// Options for captions.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct CaptionArgs {
    /// Use a prompt for this kind of caption
    #[arg(long, value_name = "NAME", conflicts_with_all = ["prompt", "prompt_file"])]
    pub style: Option<CaptionStyle>,

    /// Choose one of the prompts in FILE for each picture. Lines of --- stand between them, and the first line of each may
    /// be its weight ("weight: 3"; default: 1)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "prompt_file", "style"])]
    pub prompts: Option<PathBuf>,

    /// Show the pictures in DIR that have a caption, at most 8, as examples before each picture
    #[arg(long, value_name = "DIR")]
    pub examples: Option<PathBuf>,

    /// Every caption must contain WORD. The prompt asks for it, and an answer without it is asked for again
    #[arg(long, value_name = "WORD", value_parser = parse_trigger)]
    pub trigger: Option<String>,

    /// Put the word of --trigger before captions without it, instead of asking for it
    #[arg(long, requires = "trigger")]
    pub prepend_trigger: bool,

    /// Extension of caption files
    #[arg(long, value_name = "EXT", default_value = "txt", value_parser = parse_extension)]
    pub caption_ext: String,

    /// Parts not to clean out of captions; separate several with commas. results.jsonl has answers as they came
    #[arg(long, value_name = "WHAT", value_delimiter = ',', value_parser = named_value::<CleanupStep>())]
    pub no_clean: Vec<CleanupStep>,

    /// Write refusals ("I'm sorry, but I can't …") as captions, too
    #[arg(long)]
    pub allow_refusals: bool,
}

impl CaptionArgs {
    /// How answers are made captions.
    pub fn rules(&self) -> CaptionRules {
        let trigger = |is_prepended| self.trigger.clone().filter(|_| self.prepend_trigger == is_prepended);
        CaptionRules {
            skipped_steps: self.no_clean.clone(),
            prepended_trigger: trigger(true),
            required_trigger: trigger(false),
            allows_refusals: self.allow_refusals,
        }
    }

    /// The prompt, with the request for the trigger.
    pub fn with_trigger(&self, prompt: &str) -> String {
        match self.trigger.as_ref().filter(|_| !self.prepend_trigger) {
            Some(trigger) if !has_trigger(prompt, trigger) => {
                format!("{}\n\nThe text must contain the word {trigger}, spelled so.", prompt.trim_end())
            }
            _ => prompt.to_owned(),
        }
    }
}

/// Makes several prompts one template, which chooses among them by the picture's `choice`.
///
/// # Errors
/// If a prompt is empty, or a weight is not a number from 1 to 1,000.
pub(super) fn combine_prompts(text: &str) -> Result<String, String> {
    let mut prompts: Vec<(u32, String)> = Vec::new();
    for part in text.lines().collect::<Vec<_>>().split(|line| line.trim_end() == "---") {
        let mut lines = part.iter().skip_while(|line| line.trim().is_empty()).peekable();
        let weight = match lines.peek().and_then(|line| line.strip_prefix("weight:")) {
            None => 1,
            Some(weight) => {
                let parsed = weight.trim().parse().ok().filter(|weight| (1..=1_000).contains(weight));
                lines.next();
                parsed.ok_or_else(|| format!("the weight{weight} is not a number from 1 to 1000"))?
            }
        };
        let prompt = lines.map(|line| line.trim_end()).collect::<Vec<_>>().join("\n");
        if prompt.trim().is_empty() {
            return Err(format!("prompt {} is empty", prompts.len() + 1));
        }
        prompts.push((weight, prompt.trim_end().to_owned()));
    }
    let total: u32 = prompts.iter().map(|(weight, _)| weight).sum();
    let mut below = 0;
    let mut branches: Vec<String> = Vec::new();
    for (weight, prompt) in &prompts {
        below += weight;
        let word = if branches.is_empty() { "if" } else { "elif" };
        branches.push(format!("{{% {word} choice % {total} < {below} %}}{prompt}"));
    }
    Ok(branches.concat() + "{% endif %}")
}

/// Finds the examples in a folder: pictures with a caption beside them, in the order of their names.
///
/// # Errors
/// If the folder can't be read or has no examples.
pub(super) fn read_examples(folder: &Path, extension: &str) -> Result<Vec<CaptionExample>, String> {
    const MAX_EXAMPLES: usize = 8;
    let unreadable = |error: io::Error| format!("--examples {} can't be read: {error}", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        paths.push(path::absolute(entry.map_err(unreadable)?.path()).map_err(unreadable)?);
    }
    paths.sort();
    let example = |picture: PathBuf| {
        let caption = fs::read_to_string(picture.with_extension(extension)).ok()?;
        let caption = caption.trim_start_matches('\u{feff}').trim().to_owned();
        (!caption.is_empty() && is_picture(&picture)).then_some(CaptionExample { picture, caption })
    };
    let examples: Vec<_> = paths.into_iter().filter_map(example).take(MAX_EXAMPLES).collect();
    if examples.is_empty() {
        let folder = folder.display();
        return Err(format!("--examples {folder} has no picture with a caption (a.jpg and a.{extension})"));
    }
    Ok(examples)
}

/// Parses a word that a prompt template has as it is.
fn parse_trigger(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.contains(['{', '}']) || text.contains(char::is_control) {
        return Err("expected a word or a phrase without braces".to_owned());
    }
    Ok(text.to_owned())
}

fn parse_extension(text: &str) -> Result<String, String> {
    let extension = text.strip_prefix('.').unwrap_or(text);
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    if extension.is_empty() || extension.len() > 32 || !extension.chars().all(is_plain) || extension.ends_with('.') {
        return Err("expected an extension such as txt or caption".to_owned());
    }
    if PictureType::from_extension(&extension.to_ascii_lowercase()).is_some() {
        return Err("this is the extension of pictures".to_owned());
    }
    Ok(extension.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_prompts_become_one_template() {
        for (text, want) in [
            ("One.\n", Ok("{% if choice % 1 < 1 %}One.{% endif %}")),
            (
                "weight: 3\nOne\nline.\n---\n\nTwo.\n",
                Ok("{% if choice % 4 < 3 %}One\nline.{% elif choice % 4 < 4 %}Two.{% endif %}"),
            ),
            ("weight: 0\nOne.", Err("the weight 0 is not a number from 1 to 1000")),
            ("One.\n---\n", Err("prompt 2 is empty")),
        ] {
            assert_eq!(combine_prompts(text), want.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }
}
