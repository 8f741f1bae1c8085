//! Invariants of a run's database, as SQL queries that return their violations.

/// Pairs of an invariant and its query. The query returns one sentence for each violation.
pub(super) const INVARIANTS: [(&str, &str); 13] = [
    (
        "every item of the input is recorded completely, once, in order",
        "SELECT 'item ' || id || ' has no body or no state' FROM items
         WHERE seq NOT IN (SELECT seq FROM payload) OR seq NOT IN (SELECT seq FROM progress)
         UNION ALL SELECT 'there is a state for item ' || seq || ', which does not exist' FROM progress
         WHERE seq NOT IN (SELECT seq FROM items)
         UNION ALL SELECT 'there are ' || count(*) || ' items, numbered up to ' || max(seq)
         FROM items HAVING count(*) <> max(seq)",
    ),
    (
        "every item's body matches its row",
        "SELECT 'the body of item ' || id || iif(json_valid(body), ' belongs to another item', ' is damaged')
         FROM items JOIN payload USING (seq)
         WHERE NOT json_valid(body) OR (body ->> 'id', body ->> 'hash') IS NOT (id, lower(hex(hash)))",
    ),
    (
        "every row of the input is done, failed or waiting",
        "SELECT 'the input has ' || rows || ' rows, of which ' || known || ' are done, failed or waiting' FROM (
             SELECT (SELECT value ->> 'input_rows' FROM meta WHERE key = 'tallies') AS rows,
                    (SELECT count(*) FROM progress WHERE state IN (0, 1, 2)) AS known)
         WHERE rows > known
         UNION ALL SELECT 'item ' || id || ' is in an unknown state' FROM progress JOIN items USING (seq)
         WHERE state NOT IN (0, 1, 2)",
    ),
    (
        "every finished item has exactly one line, all others have none",
        "SELECT 'item ' || id || iif(state = 0, ' is waiting, but has a line', ' has ended, but has no line')
         FROM progress JOIN items USING (seq) LEFT JOIN results ON results.n = result AND results.seq = progress.seq
         WHERE (state = 0) <> (results.n IS NULL)
         UNION ALL SELECT 'line ' || results.n || ' is not the result of any item'
         FROM results LEFT JOIN progress ON progress.seq = results.seq AND progress.result = results.n
         WHERE progress.seq IS NULL AND results.n NOT IN (SELECT n FROM superseded)",
    ),
    (
        "every line agrees with its item",
        "SELECT 'the line of item ' || items.id || iif(json_valid(results.line),
                    ' names ' || (results.line ->> 'id') || ' as ' || (results.line ->> 'status'), ' is not JSON')
         FROM progress JOIN items USING (seq) JOIN results ON results.n = result
         WHERE state <> 0 AND (NOT json_valid(results.line)
            OR (results.line ->> 'id', results.line ->> 'status') IS NOT (items.id, iif(state = 1, 'done', 'failed')))",
    ),
    (
        "every line answers the request of its item",
        "SELECT 'the line of item ' || items.id || ' answers another request' FROM progress JOIN items USING (seq)
         JOIN results ON results.n = result
         WHERE state <> 0 AND json_valid(results.line) AND results.line ->> 'request_hash' NOT IN (lower(hex(hash)), '')",
    ),
    (
        "every done item was answered by a recorded attempt, as its line says",
        "SELECT 'item ' || items.id || ' is done, but no attempt answered it' FROM progress JOIN items USING (seq)
         WHERE state = 1 AND NOT EXISTS (SELECT 1 FROM attempts WHERE attempts.seq = progress.seq
                                         AND attempts.outcome IN ('ok', 'truncated'))
         UNION ALL SELECT 'the line of item ' || items.id || ' names ' || coalesce(results.line ->> 'model', 'no model') || '@'
                          || coalesce(results.line ->> 'key', 'no key') || ', its last attempt ' || model || '@' || key
         FROM progress JOIN items USING (seq) JOIN results ON results.n = result
         JOIN attempts ON attempts.seq = progress.seq
             AND attempts.attempt = (SELECT max(attempt) FROM attempts AS one WHERE one.seq = progress.seq
                                     AND one.outcome IN ('ok', 'truncated'))
         JOIN routes ON routes.id = attempts.route
         WHERE state = 1 AND json_valid(results.line) AND (results.line ->> 'model', results.line ->> 'key') IS NOT (model, key)",
    ),
    (
        "no item was answered twice",
        "SELECT 'item ' || id || ' was answered ' || count(*) || ' times' FROM attempts JOIN items USING (seq)
         WHERE outcome = 'ok' GROUP BY seq HAVING count(*) > 1 + revision",
    ),
    (
        "no finished item was sent again",
        "SELECT 'item ' || id || ' was sent again after its answer' FROM attempts JOIN items USING (seq)
         JOIN progress USING (seq) WHERE state = 1 GROUP BY seq
         HAVING max(attempt) > max(iif(attempts.outcome IN ('ok', 'truncated'), attempt, 0))
            AND max(attempts.outcome IN ('ok', 'truncated'))
         UNION ALL SELECT 'item ' || id || ' has ended, but is in flight' FROM in_flight JOIN items USING (seq)
         JOIN progress USING (seq) WHERE state <> 0",
    ),
    (
        "every attempt belongs to an item and a route, and is counted",
        "SELECT 'attempt ' || attempt || ' belongs to no item or route' FROM attempts
         WHERE seq NOT IN (SELECT seq FROM items) OR route NOT IN (SELECT id FROM routes)
         UNION ALL SELECT 'item ' || id || ' had ' || count(attempt) || ' attempts and counts ' || progress.attempts
         FROM progress JOIN items USING (seq) LEFT JOIN attempts ON attempts.seq = progress.seq
         GROUP BY progress.seq HAVING count(attempt) <> progress.attempts",
    ),
    (
        "every attempt is recorded once, settled or in flight",
        "SELECT 'attempt ' || attempt || ' is both' FROM attempts JOIN in_flight USING (attempt)
         UNION ALL SELECT 'attempt ' || attempt || ' is recorded for ' || count(*) || ' items' FROM attempts
         GROUP BY attempt HAVING count(*) > 1",
    ),
    (
        "the counts of items by state are right",
        "SELECT 'items ' || min(seq) || ' to ' || max(seq) || ' are counted wrong'
         FROM progress LEFT JOIN blocks ON block = seq / 4096 GROUP BY seq / 4096
         HAVING (sum(state = 0), sum(state = 1), sum(state = 2)) IS NOT (max(waiting), max(done), max(failed))",
    ),
    (
        "money and tokens add up",
        "SELECT 'the attempts say ' || rows || ', the run says ' || kept FROM (
             SELECT (SELECT json_array(count(*), coalesce(sum(cost), 0), coalesce(sum(at_risk), 0),
                                       coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),
                                       coalesce(sum(thinking_tokens), 0)) FROM attempts) AS rows,
                    (SELECT json_array(value -> 'attempts', value -> 'cost', value -> 'at_risk',
                                       value -> '$.usage.input_tokens', value -> '$.usage.output_tokens',
                                       value -> '$.usage.thinking_tokens') FROM meta WHERE key = 'tallies') AS kept)
         WHERE rows <> kept",
    ),
];

/// The same for the kinds of tokens and of cost, which older databases don't have.
pub(super) const KINDS_ADD_UP: (&str, &str) = (
    "money and tokens add up by kind",
    "SELECT 'the kinds of attempt ' || attempt || ' are more than the whole' FROM attempts
     WHERE cached_input_tokens + cache_write_tokens + cache_write_1h_tokens > input_tokens
        OR cost_input + cost_cached_input + cost_cache_write + cost_output + cost_images NOT IN (0, cost)
     UNION ALL SELECT 'the attempts say ' || rows || ', the run says ' || kept FROM (
         SELECT (SELECT json_array(coalesce(sum(cached_input_tokens), 0), coalesce(sum(cache_write_tokens), 0),
                                   coalesce(sum(cache_write_1h_tokens), 0), coalesce(sum(cost_input), 0),
                                   coalesce(sum(cost_cached_input), 0), coalesce(sum(cost_cache_write), 0),
                                   coalesce(sum(cost_output), 0), coalesce(sum(cost_images), 0)) FROM attempts) AS rows,
                (SELECT json_array(coalesce(value ->> '$.usage.cached_input_tokens', 0),
                                   coalesce(value ->> '$.usage.cache_write_tokens', 0),
                                   coalesce(value ->> '$.usage.cache_write_1h_tokens', 0),
                                   coalesce(value ->> '$.cost_by_kind.input', 0),
                                   coalesce(value ->> '$.cost_by_kind.cached_input', 0),
                                   coalesce(value ->> '$.cost_by_kind.cache_write', 0),
                                   coalesce(value ->> '$.cost_by_kind.output', 0),
                                   coalesce(value ->> '$.cost_by_kind.images', 0)) FROM meta WHERE key = 'tallies') AS kept)
     WHERE rows <> kept",
);
