-- Budgets of operators stand beside those of tenants; counters are begun and counted anew without holding calls up.

-- Who set a budget. A tenant can neither change nor remove an operator's, but may set its own beside it: both hold.
ALTER TABLE budgets ADD COLUMN set_by text NOT NULL DEFAULT 'tenant' CHECK (set_by IN ('operator', 'tenant'));
ALTER TABLE budgets DROP CONSTRAINT budgets_tenant_id_scope_scope_id_period_key,
                    ADD CONSTRAINT budgets_one_of_each UNIQUE (tenant_id, scope, scope_id, period, set_by);

-- Rows that a late end may still correct: few, and found without reading the ledger.
CREATE INDEX calls_abandoned ON calls (tenant_id, opened_at) WHERE state = 'abandoned';

-- Sums ----------------------------------------------------------------------------------------------------------------

-- Stable: a statement that compares counters with the ledger sees both in one snapshot. They change in the same
-- transactions, so in any snapshot they must agree, and nothing need be locked to look.
ALTER FUNCTION ledger_of_budget STABLE;

-- The sum of what cannot change any more, and which rows still can. `until` lies further back than any statement that
-- opens a call can take: then what this says stays true, and only the rows that it names and later ones are left to add.
CREATE FUNCTION settled_of_budget(of_tenant uuid, in_scope text, of_id text, since timestamptz, until timestamptz)
RETURNS TABLE (spent_nano bigint, unsettled uuid[]) LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(c.cost_nano) FILTER (WHERE c.state NOT IN ('open', 'abandoned')), 0)::bigint,
           coalesce(array_agg(c.id) FILTER (WHERE c.state IN ('open', 'abandoned')), '{}')
      FROM calls c
     WHERE c.tenant_id = of_tenant AND c.opened_at >= since AND c.opened_at < until
       AND CASE in_scope WHEN 'tenant' THEN true WHEN 'chatbot' THEN c.chatbot_id::text = of_id
                         WHEN 'visitor' THEN c.visitor_id = of_id ELSE c.import_id = of_id END
$$;

-- How far back `settled_of_budget` may look: a statement of ours is given up after ten seconds.
CREATE FUNCTION long_settled(since timestamptz, until timestamptz) RETURNS timestamptz LANGUAGE sql AS $$
    SELECT least(greatest(since, clock_timestamp() - interval '30 seconds'), until)
$$;

-- Completes a sum made ahead into a counter. The caller holds the tenant's lock alone, for no longer than this takes.
CREATE FUNCTION fill_budget_period(of_counter uuid, counted_to timestamptz, counted_nano bigint, unsettled uuid[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    counter record;
    under_way uuid[];
BEGIN
    SELECT p.tenant_id, b.scope, b.scope_id, p.starts_at, p.ends_at INTO counter
      FROM budget_periods p JOIN budgets b ON b.tenant_id = p.tenant_id AND b.id = p.budget_id
     WHERE p.id = of_counter;
    -- Calls under way are settled here too. Rows before counters and in the order of their ids, as everywhere; a close that
    -- holds one of these rows is waited for, and is then in the sum below.
    SELECT array_agg(found.id) INTO under_way
      FROM (SELECT c.id FROM calls c
             WHERE c.id IN (SELECT o.id FROM calls o
                             WHERE o.tenant_id = counter.tenant_id AND o.state = 'open'
                               AND o.opened_at >= counter.starts_at AND o.opened_at < counter.ends_at
                            UNION ALL
                            SELECT o.id FROM calls o
                             WHERE o.tenant_id = counter.tenant_id AND o.state = 'abandoned'
                               AND o.opened_at >= counter.starts_at AND o.opened_at < counter.ends_at)
               AND c.state IN ('open', 'abandoned') AND (c.counters IS NULL OR of_counter <> ALL (c.counters))
               AND CASE counter.scope WHEN 'tenant' THEN true WHEN 'chatbot' THEN c.chatbot_id::text = counter.scope_id
                                      WHEN 'visitor' THEN c.visitor_id = counter.scope_id
                                      ELSE c.import_id = counter.scope_id END
             ORDER BY c.id FOR NO KEY UPDATE) AS found;
    UPDATE calls c SET counters = array_append(c.counters, of_counter) WHERE c.id = ANY (under_way);
    PERFORM FROM budget_periods p WHERE p.id = of_counter FOR NO KEY UPDATE;
    UPDATE budget_periods p SET spent_nano = counted_nano + late.spent_nano, reserved_nano = late.reserved_nano
      FROM (SELECT coalesce(sum(one.cost_nano) FILTER (WHERE one.state <> 'open'), 0)::bigint AS spent_nano,
                   coalesce(sum(one.reserved_nano) FILTER (WHERE one.state = 'open'), 0)::bigint AS reserved_nano
              FROM (SELECT c.state, c.cost_nano, c.reserved_nano FROM calls c
                     WHERE c.tenant_id = counter.tenant_id AND c.opened_at >= counted_to AND c.opened_at < counter.ends_at
                       AND CASE counter.scope WHEN 'tenant' THEN true
                                              WHEN 'chatbot' THEN c.chatbot_id::text = counter.scope_id
                                              WHEN 'visitor' THEN c.visitor_id = counter.scope_id
                                              ELSE c.import_id = counter.scope_id END
                    UNION ALL
                    SELECT c.state, c.cost_nano, c.reserved_nano FROM calls c
                     WHERE c.tenant_id = counter.tenant_id AND c.id = ANY (unsettled)) AS one) AS late
     WHERE p.id = of_counter;
    PERFORM tell_budget_levels(of_counter, false);
END
$$;

-- Sets a counter to what the ledger says. Most of the sum is made before the tenant's calls are held up.
CREATE OR REPLACE FUNCTION recount_budget_period(of_counter uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    counter record;
    counted_to timestamptz;
    counted record;
BEGIN
    SELECT p.tenant_id, b.scope, b.scope_id, p.starts_at, p.ends_at INTO counter
      FROM budget_periods p JOIN budgets b ON b.tenant_id = p.tenant_id AND b.id = p.budget_id
     WHERE p.id = of_counter;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    counted_to := long_settled(counter.starts_at, counter.ends_at);
    SELECT s.spent_nano, s.unsettled INTO counted
      FROM settled_of_budget(counter.tenant_id, counter.scope, counter.scope_id, counter.starts_at, counted_to) AS s;
    PERFORM lock_budgets(counter.tenant_id);
    PERFORM fill_budget_period(of_counter, counted_to, counted.spent_nano, counted.unsettled);
END
$$;

-- Begins a budget's period, unless one runs: two processes may find at once that it is missing.
CREATE OR REPLACE FUNCTION begin_budget_period(of_budget uuid, since timestamptz, until timestamptz, at timestamptz)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    budget record;
    counter uuid;
    counted_to timestamptz;
    counted record;
BEGIN
    SELECT b.tenant_id, b.scope, b.scope_id INTO budget FROM budgets b WHERE b.id = of_budget;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT p.id INTO counter FROM budget_periods p WHERE p.budget_id = of_budget AND p.starts_at <= at AND at < p.ends_at
       FOR NO KEY UPDATE;
    IF FOUND THEN
        PERFORM tell_budget_levels(counter, false);  -- a lower limit may have been reached already
        RETURN;
    END IF;
    counted_to := long_settled(since, until);
    SELECT s.spent_nano, s.unsettled INTO counted
      FROM settled_of_budget(budget.tenant_id, budget.scope, budget.scope_id, since, counted_to) AS s;
    PERFORM lock_budgets(budget.tenant_id);
    PERFORM FROM budget_periods p WHERE p.budget_id = of_budget AND p.starts_at <= at AND at < p.ends_at;
    IF FOUND THEN
        RETURN;
    END IF;
    BEGIN
        INSERT INTO budget_periods AS p (id, tenant_id, budget_id, starts_at, ends_at)
        VALUES (make_id(), budget.tenant_id, of_budget, since, until)
        ON CONFLICT (budget_id, starts_at) DO NOTHING
        RETURNING p.id INTO counter;
    EXCEPTION WHEN foreign_key_violation THEN
        RETURN;  -- the budget was removed meanwhile
    END;
    IF counter IS NOT NULL THEN
        PERFORM fill_budget_period(counter, counted_to, counted.spent_nano, counted.unsettled);
    END IF;
END
$$;

-- Alerts --------------------------------------------------------------------------------------------------------------

-- Tells every level that was reached and not told yet, each once in a period, and where this pace leads. The counter's row
-- is locked by us.
CREATE OR REPLACE FUNCTION tell_budget_levels(of_counter uuid, refused boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    budget record;
    reached integer;
    of_whom text;
    length_s numeric;
    elapsed_s numeric;
    forecast bigint;
BEGIN
    SELECT b.id, b.tenant_id, b.scope, b.scope_id, b.period, b.limit_nano, b.action, b.set_by, p.starts_at, p.ends_at,
           p.spent_nano, p.told
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
    IF budget.period <> 'total' THEN  -- as `rules.forecast_nano`
        length_s := extract(epoch FROM budget.ends_at - budget.starts_at);
        elapsed_s := least(length_s, extract(epoch FROM now() - budget.starts_at));
        IF elapsed_s >= least(3600, length_s / 20) THEN
            forecast := ceil(budget.spent_nano * length_s / elapsed_s);
        END IF;
    END IF;
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
                || CASE WHEN refused AND reached = 100 THEN ' Calls are held back.' ELSE '' END
                || CASE WHEN forecast IS NULL THEN ''
                        ELSE format(' At this pace the %s ends at %s.', budget.period, dollars(forecast)) END,
                jsonb_build_object('spent_nano', budget.spent_nano, 'limit_nano', budget.limit_nano,
                                   'forecast_nano', forecast, 'scope', budget.scope, 'scope_id', budget.scope_id,
                                   'period', budget.period, 'action', budget.action, 'set_by', budget.set_by,
                                   'ends_at', CASE WHEN budget.period <> 'total' THEN
                                       to_char(budget.ends_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') END))
        ON CONFLICT (tenant_id, kind, subject, period) DO NOTHING;
    END LOOP;
    UPDATE budget_periods p SET told = budget.told WHERE p.id = of_counter AND p.told <> budget.told;
END
$$;

-- Closing -------------------------------------------------------------------------------------------------------------

-- Closes rows, each once. One that the sweeper has settled at its reservation is corrected, once, too. All rows are locked
-- before any counter, in the order of their ids: whoever else locks rows and counters does it in this order.
CREATE OR REPLACE FUNCTION close_calls(
    of_ids uuid[], states text[], error_classes text[], statuses integer[], models text[], inputs bigint[],
    cached bigint[], cache_writes bigint[], outputs bigint[], reasonings bigint[], costs bigint[], guesses boolean[],
    books text[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    in_counters uuid[];
    moved bigint[];
    freed bigint[];
BEGIN
    WITH before AS (
        SELECT c.id, c.state FROM calls c WHERE c.id = ANY (of_ids) AND c.state IN ('open', 'abandoned')
         ORDER BY c.id FOR NO KEY UPDATE
    ), done AS (
        UPDATE calls c
           SET state = ended.state, error_class = ended.error_class, upstream_status = ended.upstream_status,
               model = coalesce(ended.model, c.model),
               input_tokens = ended.input_tokens, cached_tokens = ended.cached_tokens,
               cache_write_tokens = ended.cache_write_tokens, output_tokens = ended.output_tokens,
               reasoning_tokens = ended.reasoning_tokens, cost_nano = ended.cost_nano, estimated = ended.estimated,
               price_book = ended.price_book, closed_at = now()
          FROM before JOIN unnest(of_ids, states, error_classes, statuses, models, inputs, cached, cache_writes, outputs,
                                  reasonings, costs, guesses, books)
            AS ended (id, state, error_class, upstream_status, model, input_tokens, cached_tokens, cache_write_tokens,
                      output_tokens, reasoning_tokens, cost_nano, estimated, price_book) ON ended.id = before.id
         WHERE c.id = before.id
        RETURNING c.counters, before.state = 'open' AS was_open, coalesce(c.cost_nano, 0) AS cost,
                  coalesce(c.reserved_nano, 0) AS reserved
    ), settled AS (
        SELECT counter, sum(CASE WHEN was_open THEN cost ELSE cost - reserved END)::bigint AS moved,
               sum(CASE WHEN was_open THEN reserved ELSE 0 END)::bigint AS freed
          FROM done, unnest(done.counters) AS counter GROUP BY counter
    )
    SELECT array_agg(settled.counter), array_agg(settled.moved), array_agg(settled.freed)
      INTO in_counters, moved, freed FROM settled;
    IF in_counters IS NOT NULL THEN
        PERFORM settle_budgets(in_counters, moved, freed);
    END IF;
END
$$;

-- Settles rows that a crash left open at their reservation, and flags them. Returns how many. A row that is being closed
-- just now is left to its close.
CREATE OR REPLACE FUNCTION abandon_calls(older_than_s float8) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    closed bigint;
    in_counters uuid[];
    moved bigint[];
BEGIN
    WITH left_open AS (
        SELECT c.id FROM calls c WHERE c.state = 'open' AND c.opened_at < now() - make_interval(secs => older_than_s)
         ORDER BY c.id LIMIT 10000 FOR NO KEY UPDATE SKIP LOCKED
    ), done AS (
        UPDATE calls c SET state = 'abandoned', estimated = true, cost_nano = c.reserved_nano, closed_at = now()
          FROM left_open WHERE c.id = left_open.id
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

REVOKE ALL ON FUNCTION settled_of_budget, long_settled, fill_budget_period FROM PUBLIC;
GRANT EXECUTE ON FUNCTION settled_of_budget, long_settled, fill_budget_period TO chatwright_app, chatwright_ops;
