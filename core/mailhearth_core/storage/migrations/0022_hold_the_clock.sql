-- A scaled clock also waits for a deed that was put off once its new moment is there. Each time it is put off
-- (a gap kept, a server busy) it would be allowed the same lateness anew, until nothing is left of the two hours
-- in which it may be done: load would look like lateness.

SET LOCAL ROLE @planner@;

CREATE OR REPLACE FUNCTION sched.tick(p_max_step double precision)
RETURNS TABLE (business_at timestamptz, sending_ends timestamptz, stalled boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = mailhearth, pg_temp AS $$
#variable_conflict use_column
DECLARE
  c business_clock%ROWTYPE;
  late boolean;
  step double precision;
  next timestamptz;
  stop timestamptz;
  machine timestamptz := clock_timestamp();
BEGIN
  SELECT * INTO c FROM business_clock FOR UPDATE;
  IF NOT FOUND THEN
    RETURN QUERY SELECT machine, NULL::timestamptz, false;
    RETURN;
  END IF;
  step := least(greatest(extract(epoch FROM machine - c.ticked_at), 0), p_max_step);
  next := c.business_at + make_interval(secs => least(step * c.rate, 1800));
  SELECT min(a.due_at + CASE WHEN a.state = 'pending' AND a.attempt > 0 THEN interval '0'
    ELSE make_interval(secs => least(c.rate, 1800)) END) INTO stop
  FROM action a WHERE a.state IN ('pending', 'leased', 'sending');
  late := coalesce(stop < next, false);
  c.business_at := greatest(c.business_at, least(next, stop));
  UPDATE business_clock SET business_at = c.business_at, ticked_at = machine;
  IF NOT EXISTS (SELECT 1 FROM clock_epochs e WHERE e.machine_at > machine - interval '1 second') THEN
    INSERT INTO clock_epochs VALUES (machine, c.business_at) ON CONFLICT DO NOTHING;
    DELETE FROM clock_epochs e WHERE e.machine_at < machine - interval '7 days';
  END IF;
  RETURN QUERY SELECT c.business_at, c.sending_ends, late;
END $$;

RESET ROLE;
