//! Names of values: the words for them in files, settings, JSON and metrics.

/// An enum whose values have names.
pub trait Named: Copy + 'static {
    /// All values with their names, in the order of the enum.
    const NAMED: &'static [(&'static str, Self)];
}

/// Gives an enum without fields its list of values and their names, from one table: `ALL`, `name`, `from_name` and
/// [`Named`]. A value without a name does not compile.
macro_rules! names {
    ($enum:ident { $($value:ident = $name:literal),+ $(,)? }) => {
        impl $enum {
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$value),+];

            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $name),+
                }
            }

            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|value| value.name() == name)
            }
        }

        impl $crate::domain::Named for $enum {
            const NAMED: &'static [(&'static str, Self)] = &[$(($name, Self::$value)),+];
        }
    };
}

pub(crate) use names;
