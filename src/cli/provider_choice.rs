//! Asks which providers may be used if the environment has keys of several.

use std::io::{BufRead as _, IsTerminal as _};

use super::{CliError, print::print_stderr};
use crate::config::{EnvironmentKeys, describe_environment_keys};

/// True if a question can be shown and answered.
pub(super) fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Lists the providers with their models and prices, and asks which may be used, until the answer is clear. Returns
/// their names in the order of the answer.
///
/// # Errors
/// If the answer is empty: none may be used.
pub(super) fn ask(found: &[EnvironmentKeys]) -> Result<Vec<String>, CliError> {
    print_stderr(&format!(
        "The environment has keys of several providers, and no keys.toml says which to use:\n{}",
        describe_environment_keys(found)
    ));
    loop {
        print_stderr("Which may get prompts and cost money? Name or number; several separated by commas, best first:");
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        if read.is_err() || answer.trim().is_empty() {
            return Err(CliError::usage(
                "no provider was chosen, so nothing was sent; --provider NAME also chooses one",
            ));
        }
        if let Some(names) = parse_answer(&answer, found) {
            return Ok(names);
        }
        print_stderr("That is not one of them.");
    }
}

/// The names that the answer means; `None` if a part of it means no provider.
fn parse_answer(answer: &str, found: &[EnvironmentKeys]) -> Option<Vec<String>> {
    let parts = answer.split([',', ' ']).map(str::trim).filter(|part| !part.is_empty());
    let find = |part: &str| match part.parse::<usize>() {
        Ok(number) => found.get(number.checked_sub(1)?),
        Err(_) => found.iter().find(|keys| keys.provider.eq_ignore_ascii_case(part)),
    };
    let names: Vec<String> =
        parts.map(|part| find(part).map(|keys| keys.provider.to_owned())).collect::<Option<_>>()?;
    (!names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_or_numbers_providers_in_its_order() {
        let keys = |provider| EnvironmentKeys { provider, variables: Vec::new(), key_count: 1, models: Vec::new() };
        let found = [keys("gemini"), keys("mistral")];
        let parse = |answer: &str| parse_answer(answer, &found).map(|names| names.join(" "));
        assert_eq!(parse("Mistral\n").as_deref(), Some("mistral"));
        assert_eq!(parse(" 2, gemini\n").as_deref(), Some("mistral gemini"));
        for unclear in ["3", "0", "openai", "1,x", ",\n", "y"] {
            assert_eq!(parse(unclear), None, "{unclear}");
        }
    }
}
