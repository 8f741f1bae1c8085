//! Small typed indices. Provider, model and key ids are indices into the vectors of the loaded configuration; project,
//! route and pool ids are indices into the scheduler's. `Seq` and `AttemptId` are row numbers in the run's database.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $repr:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $repr);

        impl $name {
            /// The id as a vector index.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id!(/** A provider in the configuration's order. */ ProviderId, u32);
id!(/** Keys of one provider that share every quota. */ ProjectId, u32);
id!(/** A model in cascade order, best first. */ ModelId, u32);
id!(/** A key in the configuration's order. */ KeyId, u32);
id!(/** One key with one model. */ RouteId, u32);
id!(/** One set of counters that share limits. */ PoolId, u32);
id!(/** An item's place in the input, from 1; its row in the run's database. */ Seq, u64);
id!(/** One HTTP request for one item, numbered from 1 over the whole run. */ AttemptId, u64);
