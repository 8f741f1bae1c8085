//! Solves arithmetic and unit conversions in a prompt.

/// Solves the first calculation in the prompt (`12 × 7`, `15% of 80`, `5 miles to kilometres`). The result is a short
/// sentence.
pub(super) fn solve(prompt: &str) -> Option<String> {
    let words: Vec<&str> =
        prompt.split_whitespace().map(|word| word.trim_end_matches(['?', '.', ',', ':', ';'])).collect();
    (0..words.len()).find_map(|at| solve_arithmetic(&words[at..]).or_else(|| solve_conversion(&words[at..])))
}

fn solve_arithmetic(words: &[&str]) -> Option<String> {
    if let [share, "of", whole, ..] | [share, "percent" | "%", "of", whole, ..] = words {
        let is_spelled_out = words[1] != "of";
        let share = if is_spelled_out { parse_number(share) } else { parse_number(share.strip_suffix('%')?) }?;
        let whole = parse_number(whole)?;
        return Some(format!(
            "{}% of {} is {}.",
            format_number(share),
            format_number(whole),
            format_number(share / 100.0 * whole)
        ));
    }
    let (sign, rest) = match words.get(1..)? {
        ["+" | "plus", rest @ ..] => ('+', rest),
        ["-" | "−" | "minus", rest @ ..] => ('−', rest),
        ["*" | "x" | "×" | "times", rest @ ..] | ["multiplied", "by", rest @ ..] => ('×', rest),
        ["/" | "÷", rest @ ..] | ["divided", "by", rest @ ..] => ('÷', rest),
        _ => return None,
    };
    let (left, right) = (parse_number(words[0])?, parse_number(rest.first()?)?);
    let result = match sign {
        '+' => left + right,
        '−' => left - right,
        '×' => left * right,
        _ if right == 0.0 => return Some("Division by zero has no result.".to_owned()),
        _ => left / right,
    };
    // A minus is printed as ASCII, because a stop sequence or a reader may look for it.
    let sign = if sign == '−' { '-' } else { sign };
    Some(format!("{} {sign} {} = {}.", format_number(left), format_number(right), format_number(result)))
}

fn solve_conversion(words: &[&str]) -> Option<String> {
    let [amount, rest @ ..] = words else { return None };
    let amount = parse_number(amount)?;
    let skip = usize::from(rest.first() == Some(&"degrees"));
    let from = MeasureUnit::from_word(rest.get(skip)?)?;
    let rest = rest.get(skip + 1..)?;
    let ["to" | "in" | "into" | "as", rest @ ..] = rest else { return None };
    let skip = usize::from(rest.first() == Some(&"degrees"));
    let to = MeasureUnit::from_word(rest.get(skip)?)?;
    if from.dimension != to.dimension {
        return None;
    }
    let result = (amount * from.factor + from.offset - to.offset) / to.factor;
    Some(format!("{} {} is {} {}.", format_number(amount), from.name, format_number(result), to.name))
}

/// A unit. `value × factor + offset` is the value in the base unit of its dimension.
struct MeasureUnit {
    name: &'static str,
    dimension: char,
    factor: f64,
    offset: f64,
}

impl MeasureUnit {
    fn from_word(word: &str) -> Option<Self> {
        let unit = |name, dimension, factor| Some(Self { name, dimension, factor, offset: 0.0 });
        match word.to_lowercase().as_str() {
            "mm" | "millimetres" | "millimeters" => unit("mm", 'l', 0.001),
            "cm" | "centimetres" | "centimeters" => unit("cm", 'l', 0.01),
            "m" | "metres" | "meters" | "metre" => unit("m", 'l', 1.0),
            "km" | "kilometres" | "kilometers" => unit("km", 'l', 1_000.0),
            "inches" | "inch" => unit("inches", 'l', 0.0254),
            "feet" | "foot" => unit("feet", 'l', 0.3048),
            "yards" => unit("yards", 'l', 0.9144),
            "miles" | "mile" => unit("miles", 'l', 1_609.344),
            "fathoms" => unit("fathoms", 'l', 1.8288),
            "g" | "grams" => unit("g", 'm', 1.0),
            "kg" | "kilograms" => unit("kg", 'm', 1_000.0),
            "ounces" => unit("ounces", 'm', 28.349_523_125),
            "pounds" => unit("pounds", 'm', 453.592_37),
            "stone" => unit("stone", 'm', 6_350.293_18),
            "ml" | "millilitres" | "milliliters" => unit("ml", 'v', 0.001),
            "l" | "litres" | "liters" => unit("litres", 'v', 1.0),
            "gallons" => unit("US gallons", 'v', 3.785_411_784),
            "pints" => unit("imperial pints", 'v', 0.568_261_25),
            "cups" => unit("US cups", 'v', 0.236_588_236_5),
            "seconds" => unit("seconds", 't', 1.0),
            "minutes" => unit("minutes", 't', 60.0),
            "hours" => unit("hours", 't', 3_600.0),
            "days" => unit("days", 't', 86_400.0),
            "weeks" => unit("weeks", 't', 604_800.0),
            "kmh" | "km/h" => unit("km/h", 's', 1.0 / 3.6),
            "mph" => unit("mph", 's', 0.447_04),
            "knots" => unit("knots", 's', 1_852.0 / 3_600.0),
            "hectares" => unit("hectares", 'a', 10_000.0),
            "acres" => unit("acres", 'a', 4_046.856_422_4),
            "celsius" | "°c" => Some(Self { name: "°C", dimension: 'h', factor: 1.0, offset: 273.15 }),
            "kelvin" => unit("K", 'h', 1.0),
            "fahrenheit" | "°f" => {
                Some(Self { name: "°F", dimension: 'h', factor: 5.0 / 9.0, offset: 273.15 - 32.0 * 5.0 / 9.0 })
            }
            _ => None,
        }
    }
}

fn parse_number(word: &str) -> Option<f64> {
    let digits = word.replace([',', '_'], "");
    let plain = digits.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.');
    digits.parse().ok().filter(|number: &f64| plain && number.is_finite())
}

/// Formats a number with as many decimals as it needs, at most four.
fn format_number(number: f64) -> String {
    let text = format!("{number:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_and_conversions_are_solved() {
        let cases = [
            ("What is 17 times 23?", "17 × 23 = 391."),
            ("Work out 1,001 - 13, please.", "1001 - 13 = 988."),
            ("What is 144 divided by 12?", "144 ÷ 12 = 12."),
            ("What is 2 / 0?", "Division by zero has no result."),
            ("What is 15% of 80?", "15% of 80 is 12."),
            ("Give 7 percent of 250 in one line.", "7% of 250 is 17.5."),
            ("Convert 26.2 miles to kilometres.", "26.2 miles is 42.1648 km."),
            ("What is 98.6 degrees Fahrenheit in Celsius?", "98.6 °F is 37 °C."),
            ("How much is -40 celsius in fahrenheit?", "-40 °C is -40 °F."),
        ];
        for (prompt, answer) in cases {
            assert_eq!(solve(prompt).as_deref(), Some(answer), "{prompt}");
        }
    }

    #[test]
    fn numbers_alone_are_no_calculation() {
        for prompt in ["Name 3 rivers.", "Is 12 miles to kilograms possible?", "1 of 3 people", "nan + 1", ""] {
            assert_eq!(solve(prompt), None, "{prompt}");
        }
    }
}
