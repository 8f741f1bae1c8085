//! Options for captions: what is asked for, and what of an answer is written.

use clap::{Args, ValueEnum};

use super::options::named_value;
use crate::domain::{CaptionRules, CleanupStep, PictureType};

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

    /// Every caption must contain WORD. The prompt asks for it, and an answer without it is asked for again
    #[arg(long, value_name = "WORD", value_parser = parse_trigger)]
    pub trigger: Option<String>,

    /// Put the word of --trigger before captions without it, instead of asking for it
    #[arg(long, requires = "trigger")]
    pub prepend_trigger: bool,

    /// Extension of caption files
    #[arg(long, value_name = "EXT", default_value = "txt", value_parser = parse_extension)]
    pub caption_ext: String,

    /// What not to clean out of captions; separate several with commas. results.jsonl has answers as they came
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
            Some(trigger) if !prompt.contains(trigger.as_str()) => {
                format!("{}\n\nThe text must contain the word {trigger}, spelled so.", prompt.trim_end())
            }
            _ => prompt.to_owned(),
        }
    }
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
