-- An import whose conversations are being deleted, some at a time. It can only go on to be gone.
ALTER TABLE imports DROP CONSTRAINT imports_state_check;
ALTER TABLE imports ADD CONSTRAINT imports_state_check CHECK (state IN
    ('queued', 'running', 'paused', 'done', 'failed', 'cancelled', 'deleting'));
