"""The schema of a run file, as named steps that a file records when they were applied."""

from __future__ import annotations

import sqlite3

import aiosqlite

from conflictscope.errors import StoreError

MIGRATIONS: dict[str, str] = {
    "0001_run": """
        CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);  -- value: JSON
        CREATE TABLE sessions (  -- one row for each time a process worked on the run
            id INTEGER PRIMARY KEY,
            started_at TEXT NOT NULL,
            ended_at TEXT,
            state TEXT  -- finished, interrupted, limit, failed or killed; NULL while it runs, or where nobody came after a kill
        );
        CREATE TABLE run_values (position INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, definition TEXT, grp TEXT);
        CREATE TABLE scenarios (
            id TEXT PRIMARY KEY, value_a TEXT NOT NULL, value_b TEXT NOT NULL, body TEXT NOT NULL  -- body: JSON
        );
        CREATE TABLE prompts (version TEXT PRIMARY KEY, text TEXT NOT NULL);
        CREATE TABLE openings (scenario_id TEXT PRIMARY KEY, text TEXT NOT NULL);
        CREATE TABLE groups (
            id INTEGER PRIMARY KEY, target TEXT NOT NULL, mode TEXT NOT NULL, steering TEXT,
            UNIQUE (target, mode, steering)
        );
        CREATE TABLE calls (  -- every request to a model and its reply; also the cache of a resumed run
            seq INTEGER PRIMARY KEY,
            scope TEXT NOT NULL,  -- the episode key, or opening/<scenario id>
            fingerprint TEXT NOT NULL,  -- hash of the request
            role TEXT NOT NULL,
            model TEXT NOT NULL,
            prompt TEXT NOT NULL,
            request BLOB NOT NULL,  -- JSON
            reply BLOB,  -- JSON of a pydantic-ai ModelResponse; NULL where the call failed
            failure TEXT,
            input_tokens INTEGER NOT NULL,
            output_tokens INTEGER NOT NULL,
            cost_usd REAL,  -- NULL where the price is not known
            latency_s REAL NOT NULL,
            created_at TEXT NOT NULL
        );
        CREATE INDEX calls_by_scope ON calls (scope);
        CREATE TABLE episodes (
            seq INTEGER PRIMARY KEY,
            key TEXT UNIQUE NOT NULL,
            group_id INTEGER NOT NULL REFERENCES groups (id),
            scenario_id TEXT NOT NULL,
            repeat INTEGER NOT NULL,
            value_a TEXT NOT NULL,
            value_b TEXT NOT NULL,
            verdict TEXT NOT NULL,
            strength INTEGER,
            shown_first TEXT,
            judge TEXT,
            failure TEXT,
            seed INTEGER NOT NULL,
            transcript TEXT NOT NULL,  -- JSON list of {role, text}
            duration_s REAL NOT NULL,
            fold_position INTEGER NOT NULL,  -- hash of the key: the canonical order of a reported ranking
            created_at TEXT NOT NULL
        );
        CREATE INDEX episodes_by_fold ON episodes (group_id, fold_position, key);
        CREATE TABLE judgements (
            episode_seq INTEGER NOT NULL REFERENCES episodes (seq),
            number INTEGER NOT NULL,
            judge TEXT NOT NULL,
            shown_first TEXT NOT NULL,
            choice TEXT NOT NULL,
            resolved INTEGER NOT NULL,
            strength INTEGER,
            reasoning TEXT NOT NULL,
            PRIMARY KEY (episode_seq, number)
        ) WITHOUT ROWID;
        CREATE VIEW outcomes AS  -- for people; docs/run-file.md describes the columns
            SELECT e.seq, g.target, g.mode, g.steering, e.scenario_id, e.value_a, e.value_b, e.verdict, e.strength,
                   e.shown_first, e.judge, e.created_at
            FROM episodes e JOIN groups g ON g.id = e.group_id;
    """,
    "0002_lanes": """
        ALTER TABLE calls ADD COLUMN target TEXT;  -- the target that it was made for; NULL for what all targets share
        ALTER TABLE calls ADD COLUMN state TEXT NOT NULL DEFAULT 'sent';  -- sent, committed, failed or abandoned
        ALTER TABLE calls ADD COLUMN reserved_usd REAL NOT NULL DEFAULT 0;  -- once ended: what it may have cost, unseen
        ALTER TABLE calls ADD COLUMN ended INTEGER;  -- 1, 2, ...: the order in which calls ended; NULL while sent
        UPDATE calls SET state = CASE WHEN reply IS NULL THEN 'failed' ELSE 'committed' END, ended = seq;
        CREATE INDEX calls_by_end ON calls (ended);
        CREATE INDEX calls_sent ON calls (state) WHERE state = 'sent';
        CREATE TABLE lanes (  -- what the preflight found out
            model TEXT PRIMARY KEY, output_mode TEXT NOT NULL, checked_at TEXT NOT NULL
        );
    """,
    "0003_batches": """
        CREATE TABLE batches (  -- what was submitted to a provider's batch API
            id TEXT PRIMARY KEY,  -- the provider's own
            model TEXT NOT NULL,
            handle BLOB NOT NULL,  -- JSON of a pydantic-ai Batch
            sent_at TEXT NOT NULL,
            ended_at TEXT  -- when its results were collected; NULL before that
        );
        ALTER TABLE calls ADD COLUMN batch TEXT REFERENCES batches (id);  -- in which it went out, with seq as its id; else NULL
    """,
    "0004_schedule": """
        ALTER TABLE episodes ADD COLUMN policy TEXT;  -- uniform or thompson; NULL where it was imported
        ALTER TABLE episodes ADD COLUMN reason TEXT;  -- why the policy chose it, in one word; docs/run-file.md lists them
        -- JSON: how many outcomes there were when the sweep stopped playing the group, and the rule that held; else NULL
        ALTER TABLE groups ADD COLUMN settled TEXT;
    """,
    "0005_library": """
        CREATE TABLE rounds (  -- of a library in the making: requests for outlines of one pair of values, and what came of them
            key TEXT PRIMARY KEY,  -- the scope of its calls
            value_a TEXT NOT NULL,
            value_b TEXT NOT NULL,
            number INTEGER NOT NULL,
            lots TEXT NOT NULL,  -- JSON: [value of action a, value of action b, template, outlines asked for], a request each
            problems TEXT,  -- JSON: how many replies could not be used as they came, by kind
            begun_at TEXT NOT NULL,
            ended_at TEXT  -- NULL while it goes on; its drafts are committed with its end
        );
        CREATE TABLE drafts (  -- outlines, and what became of them
            round TEXT NOT NULL REFERENCES rounds (key),
            place INTEGER NOT NULL,
            id TEXT NOT NULL,  -- of the scenario; equal outlines have equal ids
            state TEXT NOT NULL,  -- passed, rejected (by a check), duplicate or failed
            reason TEXT,
            same_as TEXT,  -- the scenario that a duplicate repeats
            cosine REAL,
            outline TEXT NOT NULL,  -- JSON
            body TEXT,  -- JSON of the scenario; NULL where there never was one
            PRIMARY KEY (round, place)
        );
        CREATE TABLE embeddings (  -- what was paid for once
            model TEXT NOT NULL,
            digest BLOB NOT NULL,  -- of the text
            vector BLOB NOT NULL,  -- little-endian float32
            PRIMARY KEY (model, digest)
        ) WITHOUT ROWID;
    """,
    "0006_panels": """
        ALTER TABLE judgements ADD COLUMN repeat INTEGER NOT NULL DEFAULT 1;  -- 1, 2, ...: which of the looks that are alike
        ALTER TABLE judgements ADD COLUMN quotes TEXT NOT NULL DEFAULT '[]';  -- JSON list: words of the target that decide it
        ALTER TABLE judgements ADD COLUMN failure TEXT;  -- kind and message, where choice is judge_failed
    """,
    "0006b_verdicts": """
        CREATE TABLE verdicts (  -- of judges who judged stored conversations anew
            judge TEXT NOT NULL,
            episode_seq INTEGER NOT NULL REFERENCES episodes (seq),
            verdict TEXT NOT NULL,
            strength INTEGER,
            failure TEXT,
            created_at TEXT NOT NULL,
            PRIMARY KEY (judge, episode_seq)
        ) WITHOUT ROWID;
        CREATE TABLE looks (  -- what they rest on, as in judgements
            judge TEXT NOT NULL,
            episode_seq INTEGER NOT NULL REFERENCES episodes (seq),
            number INTEGER NOT NULL,
            shown_first TEXT NOT NULL,
            choice TEXT NOT NULL,
            resolved INTEGER NOT NULL,
            strength INTEGER,
            reasoning TEXT NOT NULL,
            PRIMARY KEY (judge, episode_seq, number)
        ) WITHOUT ROWID;
        ALTER TABLE sessions ADD COLUMN work TEXT NOT NULL DEFAULT 'run';  -- run or rejudge
    """,
    "0007_behaviors": """
        DROP VIEW outcomes;
        CREATE TABLE groups_anew (
            id INTEGER PRIMARY KEY, target TEXT NOT NULL, mode TEXT NOT NULL, steering TEXT,
            behavior TEXT,  -- the name of the behaviours that take part; NULL for none
            -- JSON: how many outcomes there were when the sweep stopped playing the group, and the rule that held; else NULL
            settled TEXT,
            UNIQUE (target, mode, steering, behavior)
        );
        INSERT INTO groups_anew (id, target, mode, steering, settled) SELECT id, target, mode, steering, settled FROM groups;
        DROP TABLE groups;
        ALTER TABLE groups_anew RENAME TO groups;
        CREATE VIEW outcomes AS  -- for people; docs/run-file.md describes the columns
            SELECT e.seq, g.target, g.mode, g.steering, g.behavior, e.scenario_id, e.value_a, e.value_b, e.verdict, e.strength,
                   e.shown_first, e.judge, e.created_at
            FROM episodes e JOIN groups g ON g.id = e.group_id;
    """,
    "0008_labels": """
        CREATE TABLE labels (  -- what people made of episodes
            episode TEXT NOT NULL,  -- the key
            annotator TEXT NOT NULL,
            verdict TEXT NOT NULL,
            shown_first TEXT NOT NULL,  -- as this person saw it
            comment TEXT NOT NULL,
            created_at TEXT NOT NULL,  -- when it was read in
            PRIMARY KEY (episode, annotator)
        ) WITHOUT ROWID;
    """,
    "0009_lane_loads": """
        CREATE TABLE lane_loads (  -- how each lane stands, of the last process that worked on the run; written once a second
            model TEXT PRIMARY KEY,
            in_flight INTEGER NOT NULL,
            limit_now INTEGER NOT NULL,  -- requests that may be in flight
            most INTEGER NOT NULL,  -- as many as were asked for
            waiting INTEGER NOT NULL,
            retries INTEGER NOT NULL,
            errors INTEGER NOT NULL,
            closed TEXT,  -- why it answers nobody any more
            recorded_at TEXT NOT NULL
        ) WITHOUT ROWID;
    """,
    "0009_views": """
        DROP INDEX calls_by_end;
        CREATE INDEX calls_by_end ON calls (  -- all that a page adds up, so that it need not read requests and replies
            ended, role, target, model, state, batch, input_tokens, output_tokens, cost_usd, reserved_usd, latency_s, created_at
        ) WHERE ended IS NOT NULL;
        CREATE INDEX scenarios_by_pair ON scenarios (value_a, value_b);
        CREATE INDEX verdicts_by_kind ON verdicts (judge, verdict);
    """,
    "0010_bodies": """
        CREATE TABLE dictionaries (  -- with which calls.request and calls.reply are packed
            number INTEGER PRIMARY KEY,  -- 1, 2, ...: the order in which they were trained
            body BLOB NOT NULL  -- as zstd writes it: with the id that frames name it by
        );
    """,
    "0011_scale": """
        DROP INDEX episodes_by_fold;
        CREATE INDEX episodes_by_fold ON episodes (  -- all that a ranking is made of, so that it need not read conversations
            group_id, fold_position, key, scenario_id, repeat, value_a, value_b, verdict, strength, shown_first, judge, failure
        );
        -- What a resume plays again, and what the end of a run tells of: few, among all that there are.
        CREATE INDEX episodes_failed ON episodes (verdict)
            WHERE verdict IN ('target_failed', 'judge_failed', 'user_failed');
        CREATE INDEX judgements_failed ON judgements (failure, judge) WHERE failure IS NOT NULL;
    """,
    "0012_in_order": """
        -- In the order of hashes, each episode changed a page of its own. To sort the rows when they are read takes no longer
        -- than to read them in that order took, for those of one page lay all over the file.
        DROP INDEX episodes_by_fold;
        CREATE INDEX episodes_by_group ON episodes (  -- all that a ranking is made of, so that it need not read conversations
            group_id, seq, fold_position, key, scenario_id, repeat, value_a, value_b, verdict, strength, shown_first, judge,
            failure
        );
    """,
}


async def migrate(connection: aiosqlite.Connection) -> None:
    """Bring a run file to the present schema. Raises StoreError where a newer version made it."""
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)"
    )
    for name, script in MIGRATIONS.items():
        if name in await applied_migrations(connection):
            continue
        # executescript commits what came before it, so the step and its record are one explicit transaction.
        try:
            await connection.executescript(
                f"BEGIN IMMEDIATE;\n{script}\nINSERT INTO migrations (name) VALUES ('{name}');\nCOMMIT;"
            )
        except sqlite3.Error:
            await connection.rollback()
            if name not in await applied_migrations(connection):  # else another process was faster
                raise


async def applied_migrations(connection: aiosqlite.Connection) -> set[str]:
    """Names of the steps that a file has been through. Raises StoreError for a step that this version does not know."""
    try:
        tables = {
            row[0] for row in await connection.execute_fetchall("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        if not tables:
            return set()  # killed before its first commit
        rows = await connection.execute_fetchall("SELECT name FROM migrations")
    except sqlite3.DatabaseError as error:
        raise StoreError(f"not a run file: {error}") from None
    applied = {str(row[0]) for row in rows}
    unknown = applied - MIGRATIONS.keys()
    if unknown:
        raise StoreError(
            f"made by a newer version of ConflictScope (unknown migration {min(unknown)!r}): upgrade to read it"
        )
    return applied
