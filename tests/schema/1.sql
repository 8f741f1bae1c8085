-- A run's database as version 1 of its schema was: killed with one item failed, two done, one in flight, three unsent.
-- Never edited: it stands for the runs that people have.
BEGIN TRANSACTION;
CREATE TABLE attempts(attempt INTEGER PRIMARY KEY, seq INTEGER NOT NULL, route INTEGER NOT NULL,
                           sent_at INTEGER NOT NULL, est_tokens INTEGER NOT NULL, settled_at INTEGER,
                           outcome TEXT NOT NULL, status INTEGER, latency_ms INTEGER NOT NULL,
                           input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
                           thinking_tokens INTEGER NOT NULL, cost INTEGER NOT NULL, at_risk INTEGER NOT NULL,
                           message TEXT NOT NULL);
INSERT INTO "attempts" VALUES(1,1,1,1795256044652639,13,1795256044957198,'content_blocked',200,304,4,0,0,4000000,0,'blockReason: PROHIBITED_CONTENT');
INSERT INTO "attempts" VALUES(2,2,1,1795256044957473,14,1795256045261202,'ok',200,302,5,4,0,13000000,0,'');
INSERT INTO "attempts" VALUES(3,3,1,1795256045261378,14,1795256045566093,'ok',200,303,5,4,0,13000000,0,'');
CREATE TABLE blocks(block INTEGER PRIMARY KEY, waiting INTEGER NOT NULL, done INTEGER NOT NULL,
                         failed INTEGER NOT NULL);
INSERT INTO "blocks" VALUES(0,4,2,1);
CREATE TABLE decisions(target TEXT PRIMARY KEY, at INTEGER NOT NULL, reason TEXT NOT NULL,
                            command TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE events(number INTEGER PRIMARY KEY, at INTEGER NOT NULL, json TEXT NOT NULL);
INSERT INTO "events" VALUES(1,1795256044640321,'{"number":1,"at":1795256044640321,"kind":"run","level":"info","words":"a new run begins"}');
INSERT INTO "events" VALUES(2,1795256044957318,'{"number":2,"at":1795256044957318,"kind":"item_failed","seq":1,"item":"bad","route":"m@alice","outcome":"content_blocked","words":"blockReason: PROHIBITED_CONTENT"}');
CREATE TABLE in_flight(attempt INTEGER PRIMARY KEY, seq INTEGER NOT NULL, route INTEGER NOT NULL,
                            sent_at INTEGER NOT NULL, reserved INTEGER NOT NULL, est_tokens INTEGER NOT NULL);
INSERT INTO "in_flight" VALUES(4,4,1,1795256045566267,2014000000,14);
CREATE TABLE items(seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, line INTEGER NOT NULL, hash BLOB NOT NULL,
                        revision INTEGER NOT NULL DEFAULT 0);
INSERT INTO "items" VALUES(1,'bad',1,X'4D93D95521EE1F56D8253E6249401F24',0);
INSERT INTO "items" VALUES(2,'q1',2,X'6E2F63D9F43727B7ED06AC8F29880C51',0);
INSERT INTO "items" VALUES(3,'q2',3,X'2C8DA59B48D37E2DA460EAC497F19FEC',0);
INSERT INTO "items" VALUES(4,'q3',4,X'5FE6B14856216F2B45A18D28AE4773DA',0);
INSERT INTO "items" VALUES(5,'q4',5,X'960CB08E35078C88FB95D12FA133A0BD',0);
INSERT INTO "items" VALUES(6,'q5',6,X'95A6470C3340F52070A3215142A3D8EE',0);
INSERT INTO "items" VALUES(7,'q6',7,X'E870BA90FFC7D7535F26FE946AF818CB',0);
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('pins','{"input":"batch.jsonl","kind":"JSONL rows","fingerprint":"ab0e247c216a67097550274acc872414","prompt":"{{ question }}","system":null,"params":"{}","captions":null,"existing":null}');
INSERT INTO "meta" VALUES('tallies','{"items":7,"input_rows":7,"attempts":3,"rate_limited":0,"truncated":0,"usage":{"input_tokens":14,"output_tokens":8,"thinking_tokens":0},"cost":30000000,"at_risk":0,"first_sent":1795256044652639,"last_attempt":4,"last_event":2,"last_result":3}');
CREATE TABLE payload(seq INTEGER PRIMARY KEY, body TEXT NOT NULL);
INSERT INTO "payload" VALUES(1,'{"id":"bad","request":{"messages":[{"speaker":"user","parts":[{"text":"[sim:blocked]"}]}]},"hash":"4d93d95521ee1f56d8253e6249401f24","line":1}');
INSERT INTO "payload" VALUES(2,'{"id":"q1","request":{"messages":[{"speaker":"user","parts":[{"text":"What is 1 + 1000?"}]}]},"hash":"6e2f63d9f43727b7ed06ac8f29880c51","line":2}');
INSERT INTO "payload" VALUES(3,'{"id":"q2","request":{"messages":[{"speaker":"user","parts":[{"text":"What is 2 + 1000?"}]}]},"hash":"2c8da59b48d37e2da460eac497f19fec","line":3}');
INSERT INTO "payload" VALUES(4,'{"id":"q3","request":{"messages":[{"speaker":"user","parts":[{"text":"What is 3 + 1000?"}]}]},"hash":"5fe6b14856216f2b45a18d28ae4773da","line":4}');
INSERT INTO "payload" VALUES(5,'{"id":"q4","request":{"messages":[{"speaker":"user","parts":[{"text":"What is 4 + 1000?"}]}]},"hash":"960cb08e35078c88fb95d12fa133a0bd","line":5}');
INSERT INTO "payload" VALUES(6,'{"id":"q5","request":{"messages":[{"speaker":"user","parts":[{"text":"What is 5 + 1000?"}]}]},"hash":"95a6470c3340f52070a3215142a3d8ee","line":6}');
INSERT INTO "payload" VALUES(7,'{"id":"q6","request":{"messages":[{"speaker":"user","parts":[{"text":"What is 6 + 1000?"}]}]},"hash":"e870ba90ffc7d7535f26fe946af818cb","line":7}');
CREATE TABLE progress(seq INTEGER PRIMARY KEY, state INTEGER NOT NULL, traits INTEGER NOT NULL,
                           attempts INTEGER NOT NULL, outcome TEXT, route INTEGER, result INTEGER, words TEXT);
INSERT INTO "progress" VALUES(1,2,1,1,'content_blocked',1,1,'blockReason: PROHIBITED_CONTENT');
INSERT INTO "progress" VALUES(2,1,1,1,'ok',1,2,NULL);
INSERT INTO "progress" VALUES(3,1,1,1,'ok',1,3,NULL);
INSERT INTO "progress" VALUES(4,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO "progress" VALUES(5,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO "progress" VALUES(6,0,1,0,NULL,NULL,NULL,NULL);
INSERT INTO "progress" VALUES(7,0,1,0,NULL,NULL,NULL,NULL);
CREATE TABLE results(n INTEGER PRIMARY KEY, seq INTEGER NOT NULL, line TEXT NOT NULL);
INSERT INTO "results" VALUES(1,1,'{"id":"bad","status":"failed","output":null,"error":{"outcome":"content_blocked","status":200,"message":"blockReason: PROHIBITED_CONTENT"},"finish_reason":null,"key":"alice","provider":"g","model":"m","model_version":null,"usage":{"input_tokens":4,"output_tokens":0,"thinking_tokens":0},"cost_usd":4e-6,"latency_ms":304,"attempts":1,"started_at":"2026-11-21T10:14:04.652Z","finished_at":"2026-11-21T10:14:04.957Z","request_hash":"4d93d95521ee1f56d8253e6249401f24"}');
INSERT INTO "results" VALUES(2,2,'{"id":"q1","status":"done","output":"1 + 1000 = 1001.","error":null,"finish_reason":"stop","key":"alice","provider":"g","model":"m","model_version":"m","usage":{"input_tokens":5,"output_tokens":4,"thinking_tokens":0},"cost_usd":0.000013,"latency_ms":302,"attempts":1,"started_at":"2026-11-21T10:14:04.958Z","finished_at":"2026-11-21T10:14:05.261Z","request_hash":"6e2f63d9f43727b7ed06ac8f29880c51"}');
INSERT INTO "results" VALUES(3,3,'{"id":"q2","status":"done","output":"2 + 1000 = 1002.","error":null,"finish_reason":"stop","key":"alice","provider":"g","model":"m","model_version":"m","usage":{"input_tokens":5,"output_tokens":4,"thinking_tokens":0},"cost_usd":0.000013,"latency_ms":303,"attempts":1,"started_at":"2026-11-21T10:14:05.262Z","finished_at":"2026-11-21T10:14:05.566Z","request_hash":"2c8da59b48d37e2da460eac497f19fec"}');
CREATE TABLE routes(id INTEGER PRIMARY KEY, key TEXT NOT NULL, model TEXT NOT NULL, provider TEXT NOT NULL,
                         UNIQUE(key, model, provider));
INSERT INTO "routes" VALUES(1,'alice','m','g');
CREATE TABLE states(name TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "states" VALUES('flags','{"in_flight":"1"}');
INSERT INTO "states" VALUES('run','{"state":"running"}');
INSERT INTO "states" VALUES('scheduler','{"pools":[],"projects":[],"keys":[{"name":"alice","health":100,"off":null,"dead":null,"fingerprint":1234567890123456789}],"models_off":[],"routes":[],"cursor":["alice","m"]}');
INSERT INTO "states" VALUES('widest_cap','18446744073709551615');
INSERT INTO "states" VALUES('worked','1056818');
CREATE TABLE superseded(n INTEGER PRIMARY KEY);
CREATE TABLE traits(id INTEGER PRIMARY KEY, json TEXT NOT NULL UNIQUE);
INSERT INTO "traits" VALUES(1,'{}');
CREATE INDEX attempts_of_item ON attempts(seq);
PRAGMA application_id = 1667330915;
PRAGMA user_version = 1;
COMMIT;
