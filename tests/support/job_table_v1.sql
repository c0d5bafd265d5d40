-- The job table of version 1, before Alembic: what tests migrate from. Never changed.
CREATE TABLE leym_jobs (
  id VARCHAR(26) NOT NULL,
  state VARCHAR(16) NOT NULL,
  step BIGINT NOT NULL,
  steps BIGINT NOT NULL,
  spec TEXT NOT NULL,
  law TEXT NOT NULL,
  precision VARCHAR(16) NOT NULL,
  d_state INTEGER NOT NULL,
  epoch BIGINT NOT NULL,
  attempts INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  owner TEXT,
  lease_until DOUBLE PRECISION,
  error TEXT,
  created_at DOUBLE PRECISION NOT NULL,
  started_at DOUBLE PRECISION,
  finished_at DOUBLE PRECISION,
  sweep VARCHAR(26),
  point TEXT,
  manifest TEXT NOT NULL,
  checkpoint TEXT,
  observables_last TEXT,
  deleted_at DOUBLE PRECISION,
  law_name TEXT NOT NULL,
  height INTEGER NOT NULL,
  width INTEGER NOT NULL,
  remaining BIGINT NOT NULL,
  frames BIGINT NOT NULL,
  ticketed_at DOUBLE PRECISION,
  PRIMARY KEY (id)
);
CREATE INDEX leym_jobs_law ON leym_jobs (law_name, id);
CREATE INDEX leym_jobs_outbox ON leym_jobs (state, ticketed_at);
CREATE INDEX leym_jobs_state ON leym_jobs (state, id) WHERE deleted_at IS NULL;
CREATE INDEX leym_jobs_sweep ON leym_jobs (sweep, id);
CREATE TABLE leym_latencies (
  kind VARCHAR(16) NOT NULL,
  bucket INTEGER NOT NULL,
  n BIGINT NOT NULL,
  sum DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (kind, bucket)
);
CREATE TABLE leym_requests (
  key TEXT NOT NULL,
  digest VARCHAR(64) NOT NULL,
  made VARCHAR(26) NOT NULL,
  created_at DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (key)
);
CREATE TABLE leym_schema (
  id INTEGER NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY (id)
);
CREATE TABLE leym_sweeps (
  id VARCHAR(26) NOT NULL,
  spec TEXT NOT NULL,
  size INTEGER NOT NULL,
  created_at DOUBLE PRECISION NOT NULL,
  cancelled_at DOUBLE PRECISION,
  PRIMARY KEY (id)
);
CREATE TABLE leym_tags (
  tag TEXT NOT NULL,
  job VARCHAR(26) NOT NULL,
  PRIMARY KEY (tag, job)
);
CREATE TABLE leym_totals (
  shard INTEGER NOT NULL,
  submitted BIGINT NOT NULL,
  succeeded BIGINT NOT NULL,
  failed BIGINT NOT NULL,
  cancelled BIGINT NOT NULL,
  cell_steps BIGINT NOT NULL,
  frames BIGINT NOT NULL,
  PRIMARY KEY (shard)
);
CREATE TABLE leym_workers (
  name TEXT NOT NULL,
  body TEXT NOT NULL,
  updated_at DOUBLE PRECISION NOT NULL,
  PRIMARY KEY (name)
);
