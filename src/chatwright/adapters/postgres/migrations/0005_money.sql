-- Budgets. A call's reservation is part of the transaction that opens its row of the ledger, its settlement of the one
-- that closes it: spent + reserved <= limit holds at every instant, over any number of processes.

CREATE TABLE budgets (
    id         uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    scope      text NOT NULL CHECK (scope IN ('tenant', 'chatbot', 'visitor', 'import')),
    scope_id   text NOT NULL,                                       -- the tenant's, chatbot's, visitor's or import's id
    period     text NOT NULL CHECK (period IN ('day', 'month', 'total')),
    limit_nano bigint NOT NULL CHECK (limit_nano >= 0),
    action     text NOT NULL CHECK (action IN ('block', 'downgrade', 'extractive', 'alert')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, scope, scope_id, period),
    UNIQUE (tenant_id, id)
);

-- The counters: one row for each period of a budget. Updated with every group of calls, so room is left on the page.
CREATE TABLE budget_periods (
    id            uuid PRIMARY KEY,
    tenant_id     uuid NOT NULL,
    budget_id     uuid NOT NULL,
    starts_at     timestamptz NOT NULL,                             -- half-open: [starts_at, ends_at)
    ends_at       timestamptz NOT NULL CHECK (ends_at > starts_at),
    spent_nano    bigint NOT NULL DEFAULT 0,
    reserved_nano bigint NOT NULL DEFAULT 0 CHECK (reserved_nano >= 0),
    refused       bigint NOT NULL DEFAULT 0,                        -- calls that were held back
    told          integer NOT NULL DEFAULT 0,                       -- levels told: 1 = 80 %, 2 = 95 %, 4 = 100 %
    UNIQUE (budget_id, starts_at),
    FOREIGN KEY (tenant_id, budget_id) REFERENCES budgets (tenant_id, id) ON DELETE CASCADE
) WITH (fillfactor = 50);
CREATE INDEX budget_periods_tenant ON budget_periods (tenant_id, id);
CREATE INDEX budget_periods_running ON budget_periods (budget_id, ends_at);  -- the running one, not a year of past ones

ALTER TABLE calls ADD COLUMN visitor_id text, ADD COLUMN import_id text,
                  ADD COLUMN counters uuid[];                       -- the budget_periods that the call is reserved in

-- Small things -------------------------------------------------------------------------------------------------------

-- What opens calls holds a tenant's lock shared, what begins or repairs a counter holds it alone: no call can slip in
-- between the sum over the ledger and the counter that is made of it.
CREATE FUNCTION lock_budgets(of_tenant uuid) RETURNS void LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock(hashtextextended(of_tenant::text, 5))
$$;

CREATE FUNCTION make_id() RETURNS uuid LANGUAGE sql AS $$  -- version 7, as the program makes them
    SELECT encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
             PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6),
             52, 1), 53, 1), 'hex')::uuid
$$;

CREATE FUNCTION dollars(nano bigint) RETURNS text LANGUAGE sql AS $$
    SELECT '$' || to_char(nano / 1000000000::numeric, 'FM999999999990.009999999')
$$;

CREATE FUNCTION ledger_of_budget(of_tenant uuid, in_scope text, of_id text, since timestamptz, until timestamptz)
RETURNS TABLE (spent_nano bigint, reserved_nano bigint) LANGUAGE sql AS $$
    SELECT coalesce(sum(c.cost_nano) FILTER (WHERE c.state <> 'open'), 0)::bigint,
           coalesce(sum(c.reserved_nano) FILTER (WHERE c.state = 'open'), 0)::bigint
      FROM calls c
     WHERE c.tenant_id = of_tenant AND c.opened_at >= since AND c.opened_at < until
       AND CASE in_scope WHEN 'tenant' THEN true WHEN 'chatbot' THEN c.chatbot_id::text = of_id
                         WHEN 'visitor' THEN c.visitor_id = of_id ELSE c.import_id = of_id END
$$;

-- Alerts -------------------------------------------------------------------------------------------------------------

-- Tells every level that was reached and not told yet, each once in a period. The counter's row is locked by us.
CREATE FUNCTION tell_budget_levels(of_counter uuid, refused boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    budget record;
    reached integer;
    of_whom text;
BEGIN
    SELECT b.id, b.tenant_id, b.scope, b.scope_id, b.period, b.limit_nano, b.action, p.starts_at, p.spent_nano, p.told
      INTO budget
      FROM budget_periods p JOIN budgets b ON b.tenant_id = p.tenant_id AND b.id = p.budget_id
     WHERE p.id = of_counter;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    of_whom := CASE budget.scope
        WHEN 'tenant' THEN 'the tenant'
        WHEN 'chatbot' THEN 'chatbot ' || coalesce(
            (SELECT c.slug FROM chatbots c WHERE c.tenant_id = budget.tenant_id AND c.id::text = budget.scope_id),
            budget.scope_id)
        ELSE budget.scope || ' ' || budget.scope_id END;
    FOREACH reached IN ARRAY ARRAY[80, 95, 100] LOOP
        CONTINUE WHEN budget.told & CASE reached WHEN 80 THEN 1 WHEN 95 THEN 2 ELSE 4 END <> 0;
        CONTINUE WHEN NOT (budget.limit_nano > 0 AND budget.spent_nano::numeric * 100 >= budget.limit_nano::numeric * reached)
                  AND NOT (refused AND reached = 100);
        budget.told := budget.told | CASE reached WHEN 80 THEN 1 WHEN 95 THEN 2 ELSE 4 END;
        INSERT INTO alerts (id, tenant_id, kind, level, subject, period, message, detail)
        VALUES (make_id(), budget.tenant_id, 'budget.' || reached, CASE reached WHEN 100 THEN 'critical' ELSE 'warning' END,
                budget.id::text, to_char(budget.starts_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                format('The %s budget of %s has reached %s %%: %s of %s is spent.',
                       CASE budget.period WHEN 'day' THEN 'daily' WHEN 'month' THEN 'monthly' ELSE 'total' END,
                       of_whom, reached, dollars(budget.spent_nano), dollars(budget.limit_nano))
                || CASE WHEN refused AND reached = 100 THEN ' Calls are held back.' ELSE '' END,
                jsonb_build_object('spent_nano', budget.spent_nano, 'limit_nano', budget.limit_nano,
                                   'scope', budget.scope, 'scope_id', budget.scope_id, 'period', budget.period,
                                   'action', budget.action))
        ON CONFLICT (tenant_id, kind, subject, period) DO NOTHING;
    END LOOP;
    UPDATE budget_periods p SET told = budget.told WHERE p.id = of_counter AND p.told <> budget.told;
END
$$;

-- Counters begun and counted anew -------------------------------------------------------------------------------------

-- Sets a counter to what the ledger says. The caller holds the tenant's lock alone.
CREATE FUNCTION recount_budget_period(of_counter uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    counter record;
BEGIN
    SELECT p.tenant_id, b.scope, b.scope_id, p.starts_at, p.ends_at INTO counter
      FROM budget_periods p JOIN budgets b ON b.tenant_id = p.tenant_id AND b.id = p.budget_id
     WHERE p.id = of_counter;
    -- Calls under way are settled here too. Rows before counters, as everywhere; a close that holds one of these rows is
    -- waited for, and is then in the sum below.
    UPDATE calls c SET counters = array_append(c.counters, of_counter)
     WHERE c.tenant_id = counter.tenant_id AND c.state IN ('open', 'abandoned')
       AND c.opened_at >= counter.starts_at AND c.opened_at < counter.ends_at
       AND (c.counters IS NULL OR of_counter <> ALL (c.counters))
       AND CASE counter.scope WHEN 'tenant' THEN true WHEN 'chatbot' THEN c.chatbot_id::text = counter.scope_id
                              WHEN 'visitor' THEN c.visitor_id = counter.scope_id
                              ELSE c.import_id = counter.scope_id END;
    PERFORM FROM budget_periods p WHERE p.id = of_counter FOR NO KEY UPDATE;
    UPDATE budget_periods p SET spent_nano = ledger.spent_nano, reserved_nano = ledger.reserved_nano
      FROM ledger_of_budget(counter.tenant_id, counter.scope, counter.scope_id, counter.starts_at, counter.ends_at) ledger
     WHERE p.id = of_counter;
    PERFORM tell_budget_levels(of_counter, false);
END
$$;

-- Begins a budget's period, unless one runs: two processes may find at once that it is missing.
CREATE FUNCTION begin_budget_period(of_budget uuid, since timestamptz, until timestamptz, at timestamptz)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    of_tenant uuid;
    counter uuid;
BEGIN
    SELECT b.tenant_id INTO of_tenant FROM budgets b WHERE b.id = of_budget;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM lock_budgets(of_tenant);
    SELECT p.id INTO counter FROM budget_periods p WHERE p.budget_id = of_budget AND p.starts_at <= at AND at < p.ends_at;
    IF FOUND THEN
        PERFORM tell_budget_levels(counter, false);  -- a lower limit may have been reached already
        RETURN;
    END IF;
    INSERT INTO budget_periods AS p (id, tenant_id, budget_id, starts_at, ends_at)
    SELECT make_id(), b.tenant_id, b.id, since, until FROM budgets b WHERE b.id = of_budget
    ON CONFLICT (budget_id, starts_at) DO NOTHING
    RETURNING p.id INTO counter;
    IF FOUND THEN
        PERFORM recount_budget_period(counter);
    END IF;
END
$$;

-- Opening -------------------------------------------------------------------------------------------------------------

-- Opens a group of calls: each one's row and reservation, or a row of the result that says why not:
--   lost      a later attempt owns the message
--   refused   the budget's limit would be passed
--   unpriced  the price is not known, and the budget has to hold
--   missing   the budget has no counter for now (`at`) yet: begin one, then try again
-- $1: the group's tenants, ascending. The other arrays have one element for each call; NULL for an array of NULLs.
CREATE FUNCTION open_calls(
    group_tenants uuid[], new_ids uuid[], new_tenants uuid[], new_chatbots uuid[], new_conversations uuid[],
    new_messages uuid[], new_visitors text[], new_imports text[], new_kinds text[], new_purposes text[],
    new_providers text[], new_models text[], new_keys text[], new_reserved bigint[], new_attempts integer[],
    new_cheap boolean[]
) RETURNS TABLE (call_id uuid, verdict text, budget_id uuid, budget_scope text, budget_action text, at timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    one_tenant uuid;
    nothing text;
    opened uuid[];
    -- Counters that apply to the group, locked: position by position.
    counter_ids uuid[];
    counter_budgets uuid[];
    rooms bigint[];
    -- Which calls are to be reserved in which counters: position by position.
    pair_calls integer[];
    pair_counters uuid[];
    trouble boolean;
    kept_out integer[] := '{}';
    one record;
    position integer;
    worst integer;
    worst_at integer;
    rank integer;
BEGIN
    FOREACH one_tenant IN ARRAY group_tenants LOOP
        nothing := pg_advisory_xact_lock_shared(hashtextextended(one_tenant::text, 5));
    END LOOP;

    IF NOT EXISTS (SELECT FROM budgets b WHERE b.tenant_id = ANY (group_tenants)) THEN
        WITH inserted AS (
            INSERT INTO calls (id, tenant_id, chatbot_id, conversation_id, message_id, visitor_id, import_id, kind, purpose,
                               provider, model, key_id, reserved_nano)
            SELECT call.id, call.tenant_id, chatbot_id, conversation_id, call.message_id, visitor_id, import_id, kind,
                   purpose, provider, model, key_id, reserved_nano
              FROM unnest(new_ids, new_tenants, new_chatbots, new_conversations, new_messages, new_visitors, new_imports,
                          new_kinds, new_purposes, new_providers, new_models, new_keys, new_reserved, new_attempts)
                AS call (id, tenant_id, chatbot_id, conversation_id, message_id, visitor_id, import_id, kind, purpose,
                         provider, model, key_id, reserved_nano, attempt)
             WHERE call.message_id IS NULL
                OR NOT EXISTS (SELECT FROM jobs WHERE jobs.tenant_id = call.tenant_id
                                  AND jobs.message_id = call.message_id AND jobs.attempt > call.attempt)
            ON CONFLICT (id) DO NOTHING
            RETURNING id
        ) SELECT array_agg(id) INTO opened FROM inserted;
        IF cardinality(opened) IS DISTINCT FROM cardinality(new_ids) THEN
            RETURN QUERY SELECT asked.id, 'lost', NULL::uuid, NULL::text, NULL::text, now()
                           FROM unnest(new_ids) AS asked (id) WHERE asked.id <> ALL (coalesce(opened, '{}'));
        END IF;
        RETURN;
    END IF;

    -- In the order of their ids: groups of several processes wait for one another, never in a circle.
    SELECT array_agg(p.id), array_agg(p.budget_id), array_agg(p.room)
      INTO counter_ids, counter_budgets, rooms
      FROM (SELECT p.id, p.budget_id, b.limit_nano - p.spent_nano - p.reserved_nano AS room
              FROM budget_periods p JOIN budgets b ON b.tenant_id = p.tenant_id AND b.id = p.budget_id
             WHERE b.tenant_id = ANY (group_tenants) AND p.starts_at <= now() AND now() < p.ends_at
               AND (b.scope = 'tenant' OR b.scope_id = ANY (new_chatbots::text[]) OR b.scope_id = ANY (new_visitors)
                    OR b.scope_id = ANY (new_imports))
             ORDER BY p.id FOR NO KEY UPDATE OF p) AS p;

    WITH pair AS MATERIALIZED (
        SELECT call.n::integer AS n, call.reserved_nano, b.action, counter.id AS counter, counter.room
          FROM unnest(new_tenants, new_chatbots, new_visitors, new_imports, new_reserved) WITH ORDINALITY
            AS call (tenant_id, chatbot_id, visitor_id, import_id, reserved_nano, n)
          JOIN budgets b ON b.tenant_id = call.tenant_id
           AND b.scope_id = CASE b.scope WHEN 'tenant' THEN call.tenant_id::text WHEN 'chatbot' THEN call.chatbot_id::text
                                         WHEN 'visitor' THEN call.visitor_id ELSE call.import_id END
          LEFT JOIN unnest(counter_budgets, counter_ids, rooms) AS counter (budget_id, id, room) ON counter.budget_id = b.id
         WHERE call.reserved_nano IS DISTINCT FROM 0  -- what costs nothing is held back by nothing
    )
    SELECT (SELECT array_agg(n) FROM pair), (SELECT array_agg(counter) FROM pair),
           EXISTS (SELECT FROM pair WHERE counter IS NULL OR (action <> 'alert' AND reserved_nano IS NULL))
           OR EXISTS (SELECT FROM pair WHERE action <> 'alert' GROUP BY counter, room HAVING sum(reserved_nano) > room)
      INTO pair_calls, pair_counters, trouble;

    IF trouble THEN
        -- Not all of it can be taken as it is: one by one, in the group's order.
        FOR one IN
            SELECT call.n::integer AS n, call.reserved_nano AS need, coalesce(call.cheap, false) AS cheap,
                   array_agg(b.id) AS budgets, array_agg(b.scope) AS scopes, array_agg(b.action) AS actions,
                   array_agg(array_position(counter_budgets, b.id)) AS positions
              FROM unnest(new_tenants, new_chatbots, new_visitors, new_imports, new_reserved, new_messages, new_attempts,
                          new_cheap) WITH ORDINALITY
                AS call (tenant_id, chatbot_id, visitor_id, import_id, reserved_nano, message_id, attempt, cheap, n)
              JOIN budgets b ON b.tenant_id = call.tenant_id
               AND b.scope_id = CASE b.scope WHEN 'tenant' THEN call.tenant_id::text
                                             WHEN 'chatbot' THEN call.chatbot_id::text
                                             WHEN 'visitor' THEN call.visitor_id ELSE call.import_id END
             WHERE call.reserved_nano IS DISTINCT FROM 0
               AND (call.message_id IS NULL
                    OR NOT EXISTS (SELECT FROM jobs WHERE jobs.tenant_id = call.tenant_id
                                      AND jobs.message_id = call.message_id AND jobs.attempt > call.attempt))
             GROUP BY call.n, call.reserved_nano, call.cheap ORDER BY call.n
        LOOP
            verdict := NULL;
            worst := 0;
            FOR position IN 1 .. cardinality(one.budgets) LOOP
                -- The cheap model goes on when a budget asks for nothing more than that.
                CONTINUE WHEN one.actions[position] = 'alert' AND one.positions[position] IS NOT NULL;
                rank := CASE
                    WHEN one.positions[position] IS NULL THEN 5
                    WHEN one.need IS NOT NULL AND (one.need <= rooms[one.positions[position]]
                                                   OR (one.cheap AND one.actions[position] = 'downgrade')) THEN 0
                    WHEN one.actions[position] = 'block' THEN 4
                    WHEN one.actions[position] = 'extractive' THEN 3
                    ELSE 2 END;
                IF rank > worst THEN
                    worst := rank;
                    worst_at := one.positions[position];
                    verdict := CASE WHEN rank = 5 THEN 'missing' WHEN one.need IS NULL THEN 'unpriced' ELSE 'refused' END;
                    budget_id := one.budgets[position];
                    budget_scope := one.scopes[position];
                    budget_action := one.actions[position];
                END IF;
            END LOOP;
            IF verdict IS NOT NULL THEN
                kept_out := array_append(kept_out, one.n);
                IF verdict = 'refused' THEN
                    UPDATE budget_periods p SET refused = p.refused + 1 WHERE p.id = counter_ids[worst_at];
                    PERFORM tell_budget_levels(counter_ids[worst_at], true);
                END IF;
                call_id := new_ids[one.n];
                at := now();
                RETURN NEXT;
            ELSE
                FOREACH position IN ARRAY one.positions LOOP
                    rooms[position] := rooms[position] - coalesce(one.need, 0);
                END LOOP;
            END IF;
        END LOOP;
    END IF;

    WITH inserted AS (
        INSERT INTO calls (id, tenant_id, chatbot_id, conversation_id, message_id, visitor_id, import_id, kind, purpose,
                           provider, model, key_id, reserved_nano, counters)
        SELECT call.id, call.tenant_id, chatbot_id, conversation_id, call.message_id, visitor_id, import_id, kind,
               purpose, provider, model, key_id, reserved_nano, mine.counters
          FROM unnest(new_ids, new_tenants, new_chatbots, new_conversations, new_messages, new_visitors, new_imports,
                      new_kinds, new_purposes, new_providers, new_models, new_keys, new_reserved, new_attempts)
               WITH ORDINALITY
            AS call (id, tenant_id, chatbot_id, conversation_id, message_id, visitor_id, import_id, kind, purpose, provider,
                     model, key_id, reserved_nano, attempt, n)
          LEFT JOIN (SELECT pair.n, array_agg(pair.counter) AS counters
                       FROM unnest(pair_calls, pair_counters) AS pair (n, counter) GROUP BY pair.n) AS mine
                 ON mine.n = call.n
         WHERE call.n <> ALL (kept_out)
           AND (call.message_id IS NULL
                OR NOT EXISTS (SELECT FROM jobs WHERE jobs.tenant_id = call.tenant_id
                                  AND jobs.message_id = call.message_id AND jobs.attempt > call.attempt))
        ON CONFLICT (id) DO NOTHING
        RETURNING id, counters, reserved_nano
    ), reserved AS (
        UPDATE budget_periods p SET reserved_nano = p.reserved_nano + taken.nano
          FROM (SELECT counter, sum(inserted.reserved_nano)::bigint AS nano
                  FROM inserted, unnest(inserted.counters) AS counter
                 WHERE inserted.reserved_nano > 0 GROUP BY counter) AS taken
         WHERE p.id = taken.counter
    )
    SELECT array_agg(id) INTO opened FROM inserted;
    IF coalesce(cardinality(opened), 0) + cardinality(kept_out) < cardinality(new_ids) THEN
        RETURN QUERY SELECT asked.id, 'lost', NULL::uuid, NULL::text, NULL::text, now()
                       FROM unnest(new_ids) WITH ORDINALITY AS asked (id, n)
                      WHERE asked.id <> ALL (coalesce(opened, '{}')) AND asked.n <> ALL (kept_out);
    END IF;
END
$$;

-- Closing -------------------------------------------------------------------------------------------------------------

-- Moves what calls cost, and what they had reserved, in their counters: one position for each counter.
CREATE FUNCTION settle_budgets(in_counters uuid[], costs bigint[], freed bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    one uuid;
    due uuid[];
BEGIN
    PERFORM FROM budget_periods p WHERE p.id = ANY (in_counters) ORDER BY p.id FOR NO KEY UPDATE;
    WITH moved AS (
        -- Never below 0: a counter that somebody has set wrong must not keep a call from being closed.
        UPDATE budget_periods p SET spent_nano = p.spent_nano + settled.cost,
                                    reserved_nano = greatest(0, p.reserved_nano - settled.freed)
          FROM unnest(in_counters, costs, freed) AS settled (id, cost, freed)
         WHERE p.id = settled.id
        RETURNING p.id, p.tenant_id, p.budget_id, p.spent_nano, p.told
    )
    SELECT array_agg(moved.id ORDER BY moved.id) INTO due
      FROM moved JOIN budgets b ON b.tenant_id = moved.tenant_id AND b.id = moved.budget_id
     WHERE b.limit_nano > 0 AND CASE WHEN moved.told & 1 = 0 THEN moved.spent_nano::numeric * 100 >= b.limit_nano::numeric * 80
                                     WHEN moved.told & 2 = 0 THEN moved.spent_nano::numeric * 100 >= b.limit_nano::numeric * 95
                                     WHEN moved.told & 4 = 0 THEN moved.spent_nano >= b.limit_nano
                                     ELSE false END;
    IF due IS NOT NULL THEN
        FOREACH one IN ARRAY due LOOP
            PERFORM tell_budget_levels(one, false);
        END LOOP;
    END IF;
END
$$;

-- Closes rows, each once. One that the sweeper has settled at its reservation is corrected, once, too.
CREATE FUNCTION close_calls(
    of_ids uuid[], states text[], error_classes text[], statuses integer[], models text[], inputs bigint[],
    cached bigint[], cache_writes bigint[], outputs bigint[], reasonings bigint[], costs bigint[], guesses boolean[],
    books text[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    closed bigint;
    in_counters uuid[];
    moved bigint[];
    freed bigint[];
    was text;
BEGIN
    FOREACH was IN ARRAY ARRAY['open', 'abandoned'] LOOP
        WITH done AS (
            UPDATE calls c
               SET state = ended.state, error_class = ended.error_class, upstream_status = ended.upstream_status,
                   model = coalesce(ended.model, c.model),
                   input_tokens = ended.input_tokens, cached_tokens = ended.cached_tokens,
                   cache_write_tokens = ended.cache_write_tokens, output_tokens = ended.output_tokens,
                   reasoning_tokens = ended.reasoning_tokens, cost_nano = ended.cost_nano, estimated = ended.estimated,
                   price_book = ended.price_book, closed_at = now()
              FROM unnest(of_ids, states, error_classes, statuses, models, inputs, cached, cache_writes, outputs,
                          reasonings, costs, guesses, books)
                AS ended (id, state, error_class, upstream_status, model, input_tokens, cached_tokens, cache_write_tokens,
                          output_tokens, reasoning_tokens, cost_nano, estimated, price_book)
             WHERE c.id = ended.id AND c.state = was
            RETURNING c.counters, coalesce(c.cost_nano, 0) AS cost, coalesce(c.reserved_nano, 0) AS reserved
        ), settled AS (
            SELECT counter, sum(CASE was WHEN 'open' THEN cost ELSE cost - reserved END)::bigint AS moved,
                   sum(CASE was WHEN 'open' THEN reserved ELSE 0 END)::bigint AS freed
              FROM done, unnest(done.counters) AS counter GROUP BY counter
        )
        SELECT (SELECT count(*) FROM done), array_agg(settled.counter), array_agg(settled.moved), array_agg(settled.freed)
          INTO closed, in_counters, moved, freed FROM settled;
        IF in_counters IS NOT NULL THEN
            PERFORM settle_budgets(in_counters, moved, freed);
        END IF;
        EXIT WHEN closed = cardinality(of_ids);
    END LOOP;
END
$$;

-- Settles rows that a crash left open at their reservation, and flags them. Returns how many.
CREATE FUNCTION abandon_calls(older_than_s float8) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    closed bigint;
    in_counters uuid[];
    moved bigint[];
BEGIN
    WITH done AS (
        UPDATE calls c SET state = 'abandoned', estimated = true, cost_nano = c.reserved_nano, closed_at = now()
         WHERE c.state = 'open' AND c.opened_at < now() - make_interval(secs => older_than_s)
        RETURNING c.counters, coalesce(c.reserved_nano, 0) AS reserved
    ), settled AS (
        SELECT counter, sum(reserved)::bigint AS moved FROM done, unnest(done.counters) AS counter GROUP BY counter
    )
    SELECT (SELECT count(*) FROM done), array_agg(settled.counter), array_agg(settled.moved)
      INTO closed, in_counters, moved FROM settled;
    IF in_counters IS NOT NULL THEN
        PERFORM settle_budgets(in_counters, moved, moved);
    END IF;
    RETURN closed;
END
$$;

-- Who may do it -------------------------------------------------------------------------------------------------------

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['budgets', 'budget_periods'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE format($policy$
            CREATE POLICY tenant_only ON %I FOR ALL TO chatwright_app
            USING (tenant_id = (SELECT nullif(current_setting('chatwright.tenant_id', true), '')::uuid))
            WITH CHECK (tenant_id = (SELECT nullif(current_setting('chatwright.tenant_id', true), '')::uuid))
        $policy$, t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO chatwright_app', t);
        EXECUTE format('CREATE POLICY operators ON %I FOR ALL TO chatwright_ops USING (true) WITH CHECK (true)', t);
    END LOOP;
    GRANT SELECT ON budgets TO chatwright_ops;
    GRANT SELECT, INSERT, UPDATE ON budget_periods TO chatwright_ops;
END
$$;

REVOKE ALL ON FUNCTION lock_budgets, make_id, dollars, ledger_of_budget, tell_budget_levels, recount_budget_period,
                       begin_budget_period, open_calls, settle_budgets, close_calls, abandon_calls FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lock_budgets, make_id, dollars, ledger_of_budget, tell_budget_levels, recount_budget_period,
                          begin_budget_period TO chatwright_app, chatwright_ops;
GRANT EXECUTE ON FUNCTION open_calls, settle_budgets, close_calls, abandon_calls TO chatwright_ops;
