-- key: unroll_832b68dd8729_3RjECC1RoAkO8BJjG5MF0JhjhFaZimpeHv7bPCq1FCE
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0005');
CREATE TABLE artifacts (
	job_id VARCHAR(40) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	step BIGINT NOT NULL, 
	attempt INTEGER NOT NULL, 
	media_type VARCHAR(100) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	size BIGINT NOT NULL, 
	created_at DOUBLE NOT NULL, 
	CONSTRAINT pk_artifacts PRIMARY KEY (job_id, name), 
	CONSTRAINT fk_artifacts_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE, 
	CONSTRAINT fk_artifacts_sha256 FOREIGN KEY(sha256) REFERENCES blobs (sha256)
);
INSERT INTO "artifacts" VALUES('job_01m8g53rgrqnd135pc6e3zdp0x','result.json',1536,1,'application/json','661c74baf8dc261a7501924a7a7da1b1553af4de08d02944209a1ff7a16367b5',13,1.79583856697099804875e+09);
CREATE TABLE blob_chunks (
	sha256 VARCHAR(64) NOT NULL, 
	position INTEGER NOT NULL, 
	data BLOB NOT NULL, 
	CONSTRAINT pk_blob_chunks PRIMARY KEY (sha256, position), 
	CONSTRAINT fk_blob_chunks_sha256 FOREIGN KEY(sha256) REFERENCES blobs (sha256) ON DELETE CASCADE
);
INSERT INTO "blob_chunks" VALUES('2fe4a28d11a922985bc054015b5b3b2e32bd89c0bc60f18fcc73a8e2a3d08c3a',0,X'77656967687473206174203530');
INSERT INTO "blob_chunks" VALUES('ca5c637286c4caae6d736adfe662cda5a5f2b1677ca74db2cc694b0742e31b2f',0,X'7374617465206174203530');
INSERT INTO "blob_chunks" VALUES('3ebc9c01f2dbaa493c135a356f63495d1f75d18b7f636576f9f51c41dcd2a89c',0,X'7765696768747320617420313030');
INSERT INTO "blob_chunks" VALUES('bdafaf16b9022aca07c3587440c98fd8c4839455c4f68eee395c5488f3ace871',0,X'737461746520617420313030');
INSERT INTO "blob_chunks" VALUES('35085bd2d802a21120045925929ecad0ee886f3fdca4ab14685de8e34e87d306',0,X'7765696768747320617420313530');
INSERT INTO "blob_chunks" VALUES('cb91bc3353bbdd89f9e269168c79ac377937eec37576e45625e20921a1d35d2b',0,X'737461746520617420313530');
INSERT INTO "blob_chunks" VALUES('661c74baf8dc261a7501924a7a7da1b1553af4de08d02944209a1ff7a16367b5',0,X'7B226D65616E223A20302E357D');
INSERT INTO "blob_chunks" VALUES('81db6bb8cee5a4006ceefc11501724d2679bf85576b8c948eac2635caee6db51',0,X'77656967687473206174203130');
INSERT INTO "blob_chunks" VALUES('91f8620672f35f184a780fba3fdb745d13ad8657475d386d67d5de565514b0f6',0,X'7374617465206174203130');
CREATE TABLE blobs (
	sha256 VARCHAR(64) NOT NULL, 
	size BIGINT NOT NULL, 
	CONSTRAINT pk_blobs PRIMARY KEY (sha256)
);
INSERT INTO "blobs" VALUES('2fe4a28d11a922985bc054015b5b3b2e32bd89c0bc60f18fcc73a8e2a3d08c3a',13);
INSERT INTO "blobs" VALUES('ca5c637286c4caae6d736adfe662cda5a5f2b1677ca74db2cc694b0742e31b2f',11);
INSERT INTO "blobs" VALUES('3ebc9c01f2dbaa493c135a356f63495d1f75d18b7f636576f9f51c41dcd2a89c',14);
INSERT INTO "blobs" VALUES('bdafaf16b9022aca07c3587440c98fd8c4839455c4f68eee395c5488f3ace871',12);
INSERT INTO "blobs" VALUES('35085bd2d802a21120045925929ecad0ee886f3fdca4ab14685de8e34e87d306',14);
INSERT INTO "blobs" VALUES('cb91bc3353bbdd89f9e269168c79ac377937eec37576e45625e20921a1d35d2b',12);
INSERT INTO "blobs" VALUES('661c74baf8dc261a7501924a7a7da1b1553af4de08d02944209a1ff7a16367b5',13);
INSERT INTO "blobs" VALUES('81db6bb8cee5a4006ceefc11501724d2679bf85576b8c948eac2635caee6db51',13);
INSERT INTO "blobs" VALUES('91f8620672f35f184a780fba3fdb745d13ad8657475d386d67d5de565514b0f6',11);
CREATE TABLE "checkpoints" (
	id VARCHAR(40) NOT NULL, 
	tenant VARCHAR(100) NOT NULL, 
	job_id VARCHAR(40) NOT NULL, 
	step BIGINT NOT NULL, 
	attempt INTEGER NOT NULL, 
	reason VARCHAR(20) NOT NULL, 
	weights_sha256 VARCHAR(64) NOT NULL, 
	state_sha256 VARCHAR(64), 
	size BIGINT NOT NULL, 
	losses JSON, 
	best_replica INTEGER, 
	replicas INTEGER NOT NULL, 
	certificate JSON, 
	created_at DOUBLE NOT NULL, 
	network JSON NOT NULL, 
	dtype VARCHAR(10) NOT NULL, 
	data JSON, 
	loss JSON, 
	contract_version INTEGER NOT NULL, 
	summary JSON NOT NULL, 
	CONSTRAINT pk_checkpoints PRIMARY KEY (id), 
	CONSTRAINT fk_checkpoints_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE, 
	CONSTRAINT fk_checkpoints_weights_sha256 FOREIGN KEY(weights_sha256) REFERENCES blobs (sha256), 
	CONSTRAINT fk_checkpoints_state_sha256 FOREIGN KEY(state_sha256) REFERENCES blobs (sha256), 
	CONSTRAINT uq_checkpoints_job_id_step UNIQUE (job_id, step)
);
INSERT INTO "checkpoints" VALUES('ckpt_01m8g53rcsw6r6cx7bd0jfgz82','lab','job_01m8g53ran2hsmp2w2z1p1k4xd',50,1,'periodic','2fe4a28d11a922985bc054015b5b3b2e32bd89c0bc60f18fcc73a8e2a3d08c3a',NULL,13,'[0.5, null]',0,2,'null',1.79583856681199669838e+09,'{"cell": {"type": "vanilla", "hidden_size": 3, "activation": "tanh"}, "input_size": 1, "output_size": 1, "architecture": "many_to_many", "vocabulary_size": null, "feedback": "identity", "num_layers": 1, "h0": "zeros", "connectivity": {"dale": null, "density": 1.0, "mask": null, "seed": 0, "symmetry": "none", "autapses": true, "frozen": [], "frozen_weights": null}, "initialisation": {"type": "uniform"}}','float32','{"type": "task", "name": "integrate_noise", "parameters": {}}','{"time_weights": null, "type": "mse", "over": "elements"}',1,'{}');
INSERT INTO "checkpoints" VALUES('ckpt_01m8g53rdgpw17kqwdc9ks2ss5','lab','job_01m8g53ran2hsmp2w2z1p1k4xd',100,1,'periodic','3ebc9c01f2dbaa493c135a356f63495d1f75d18b7f636576f9f51c41dcd2a89c','bdafaf16b9022aca07c3587440c98fd8c4839455c4f68eee395c5488f3ace871',14,'[0.25, 0.75]',0,2,'null',1.79583856683299827577e+09,'{"cell": {"type": "vanilla", "hidden_size": 3, "activation": "tanh"}, "input_size": 1, "output_size": 1, "architecture": "many_to_many", "vocabulary_size": null, "feedback": "identity", "num_layers": 1, "h0": "zeros", "connectivity": {"dale": null, "density": 1.0, "mask": null, "seed": 0, "symmetry": "none", "autapses": true, "frozen": [], "frozen_weights": null}, "initialisation": {"type": "uniform"}}','float32','{"type": "task", "name": "integrate_noise", "parameters": {}}','{"time_weights": null, "type": "mse", "over": "elements"}',1,'{}');
INSERT INTO "checkpoints" VALUES('ckpt_01m8g53reabjv29gnbhbtcacpg','lab','job_01m8g53ran2hsmp2w2z1p1k4xd',150,1,'periodic','35085bd2d802a21120045925929ecad0ee886f3fdca4ab14685de8e34e87d306','cb91bc3353bbdd89f9e269168c79ac377937eec37576e45625e20921a1d35d2b',14,'[0.3, 0.7]',0,2,'null',1.79583856685898900036e+09,'{"cell": {"type": "vanilla", "hidden_size": 3, "activation": "tanh"}, "input_size": 1, "output_size": 1, "architecture": "many_to_many", "vocabulary_size": null, "feedback": "identity", "num_layers": 1, "h0": "zeros", "connectivity": {"dale": null, "density": 1.0, "mask": null, "seed": 0, "symmetry": "none", "autapses": true, "frozen": [], "frozen_weights": null}, "initialisation": {"type": "uniform"}}','float32','{"type": "task", "name": "integrate_noise", "parameters": {}}','{"time_weights": null, "type": "mse", "over": "elements"}',1,'{"diverged": [{"replica": 1, "step": 120, "loss": null, "gradient_norm": 2000000000.0, "hint": null}], "stopped_replicas": [{"replica": 0, "step": 150, "reason": "early_stopping", "loss": 0.3}]}');
INSERT INTO "checkpoints" VALUES('ckpt_01m8g53rr14ghzd2jzk9k79txn','lab','job_01m8g53rq5989e1h5cyp5783q6',10,1,'periodic','81db6bb8cee5a4006ceefc11501724d2679bf85576b8c948eac2635caee6db51','91f8620672f35f184a780fba3fdb745d13ad8657475d386d67d5de565514b0f6',13,'null',NULL,2,'null',1.79583856716999101634e+09,'{"cell": {"type": "vanilla", "hidden_size": 3, "activation": "tanh"}, "input_size": 1, "output_size": 1, "architecture": "many_to_many", "vocabulary_size": null, "feedback": "identity", "num_layers": 1, "h0": "zeros", "connectivity": {"dale": null, "density": 1.0, "mask": null, "seed": 0, "symmetry": "none", "autapses": true, "frozen": [], "frozen_weights": null}, "initialisation": {"type": "uniform"}}','float32','{"type": "task", "name": "integrate_noise", "parameters": {}}','{"time_weights": null, "type": "mse", "over": "elements"}',1,'{}');
CREATE TABLE clocks (
	device VARCHAR(10) NOT NULL, 
	now DOUBLE NOT NULL, 
	starts JSON NOT NULL, 
	CONSTRAINT pk_clocks PRIMARY KEY (device)
);
INSERT INTO "clocks" VALUES('cpu',4.0,'{"lab": 4.0}');
INSERT INTO "clocks" VALUES('cuda',0.0,'{}');
CREATE TABLE events (
	job_id VARCHAR(40) NOT NULL, 
	seq BIGINT NOT NULL, 
	type VARCHAR(30) NOT NULL, 
	time DOUBLE NOT NULL, 
	data JSON NOT NULL, 
	CONSTRAINT pk_events PRIMARY KEY (job_id, seq), 
	CONSTRAINT fk_events_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
INSERT INTO "events" VALUES('job_01m8g53ran2hsmp2w2z1p1k4xd',1,'queued',1.79583856674299693111e+09,'{"reason": "submitted"}');
INSERT INTO "events" VALUES('job_01m8g53ran2hsmp2w2z1p1k4xd',2,'started',1.79583856679401254654e+09,'{"attempt": 1, "worker": "worker", "step": 0}');
INSERT INTO "events" VALUES('job_01m8g53ran2hsmp2w2z1p1k4xd',3,'checkpoint',1.79583856682901525495e+09,'{"checkpoint": "ckpt_01m8g53rcsw6r6cx7bd0jfgz82", "step": 50, "reason": "periodic", "best": true}');
INSERT INTO "events" VALUES('job_01m8g53ran2hsmp2w2z1p1k4xd',4,'checkpoint',1.79583856684201049807e+09,'{"checkpoint": "ckpt_01m8g53rdgpw17kqwdc9ks2ss5", "step": 100, "reason": "periodic", "best": true}');
INSERT INTO "events" VALUES('job_01m8g53ran2hsmp2w2z1p1k4xd',5,'checkpoint',1.79583856686301231381e+09,'{"checkpoint": "ckpt_01m8g53reabjv29gnbhbtcacpg", "step": 150, "reason": "periodic", "best": false}');
INSERT INTO "events" VALUES('job_01m8g53ran2hsmp2w2z1p1k4xd',6,'end',1.79583856688300824168e+09,'{"status": "succeeded", "error": null}');
INSERT INTO "events" VALUES('job_01m8g53rgrqnd135pc6e3zdp0x',1,'queued',1.79583856693800687784e+09,'{"reason": "submitted"}');
INSERT INTO "events" VALUES('job_01m8g53rgrqnd135pc6e3zdp0x',2,'started',1.79583856696500325208e+09,'{"attempt": 1, "worker": "worker", "step": 0}');
INSERT INTO "events" VALUES('job_01m8g53rgrqnd135pc6e3zdp0x',3,'artifact',1.79583856697699284551e+09,'{"name": "result.json", "media_type": "application/json", "size": 13, "sha256": "661c74baf8dc261a7501924a7a7da1b1553af4de08d02944209a1ff7a16367b5"}');
INSERT INTO "events" VALUES('job_01m8g53rgrqnd135pc6e3zdp0x',4,'end',1.795838566981016159e+09,'{"status": "succeeded", "error": null}');
INSERT INTO "events" VALUES('job_01m8g53rj7z4x0z3bghwv2h4s9',1,'queued',1.79583856698801660536e+09,'{"reason": "submitted"}');
INSERT INTO "events" VALUES('job_01m8g53rjne41nvkdhvfva591a',1,'queued',1.79583856699698877329e+09,'{"reason": "submitted"}');
INSERT INTO "events" VALUES('job_01m8g53rjne41nvkdhvfva591a',2,'started',1.79583856702700257303e+09,'{"attempt": 1, "worker": "worker", "step": 0}');
INSERT INTO "events" VALUES('job_01m8g53rjne41nvkdhvfva591a',3,'end',1.7958385670319914818e+09,'{"status": "failed", "error": {"code": "out_of_memory", "message": "Too large.", "step": null, "checkpoint": null, "log": null}}');
INSERT INTO "events" VALUES('job_01m8g53rm1z38ht4290weyw9fx',1,'queued',1.7958385670420095921e+09,'{"reason": "submitted"}');
INSERT INTO "events" VALUES('job_01m8g53rm1z38ht4290weyw9fx',2,'started',1.7958385670649826527e+09,'{"attempt": 1, "worker": "worker", "step": 0}');
INSERT INTO "events" VALUES('job_01m8g53rm1z38ht4290weyw9fx',3,'end',1.79583856707001185415e+09,'{"status": "cancelled", "error": null}');
INSERT INTO "events" VALUES('job_01m8g53rmz3m01qvhaqgyvxvd3',1,'queued',1.79583856707198333737e+09,'{"reason": "submitted"}');
INSERT INTO "events" VALUES('job_01m8g53rmz3m01qvhaqgyvxvd3',2,'started',1.79583856710199713706e+09,'{"attempt": 1, "worker": "worker", "step": 0}');
INSERT INTO "events" VALUES('job_01m8g53rmz3m01qvhaqgyvxvd3',3,'queued',1.79583856711000347137e+09,'{"reason": "drained"}');
INSERT INTO "events" VALUES('job_01m8g53rp8dknfg2zgy7exfdv2',1,'queued',1.79583856711700415613e+09,'{"reason": "submitted"}');
INSERT INTO "events" VALUES('job_01m8g53rp8dknfg2zgy7exfdv2',2,'paused',1.79583856712601637843e+09,'{"step": 0}');
INSERT INTO "events" VALUES('job_01m8g53rmz3m01qvhaqgyvxvd3',4,'end',1.79583856713498830797e+09,'{"status": "cancelled", "error": null}');
INSERT INTO "events" VALUES('job_01m8g53rq5989e1h5cyp5783q6',1,'queued',1.79583856714198875428e+09,'{"reason": "submitted"}');
INSERT INTO "events" VALUES('job_01m8g53rq5989e1h5cyp5783q6',2,'started',1.79583856716600799565e+09,'{"attempt": 1, "worker": "worker", "step": 0}');
INSERT INTO "events" VALUES('job_01m8g53rq5989e1h5cyp5783q6',3,'checkpoint',1.79583856718000912664e+09,'{"checkpoint": "ckpt_01m8g53rr14ghzd2jzk9k79txn", "step": 10, "reason": "periodic", "best": false}');
INSERT INTO "events" VALUES('job_01m8g53rrkgypbg34pwsxtdpdp',1,'queued',1.79583856718801546095e+09,'{"reason": "submitted"}');
INSERT INTO "events" VALUES('job_01m8g53rrtdgcv82av5th3gxfs',1,'queued',1.79583856719401025771e+09,'{"reason": "submitted"}');
INSERT INTO "events" VALUES('job_01m8g53rrtdgcv82av5th3gxfs',2,'started',1.79583856722100687021e+09,'{"attempt": 1, "worker": "worker", "step": 0}');
INSERT INTO "events" VALUES('job_01m8g53rq5989e1h5cyp5783q6',4,'interrupted',1795838567.22499,'{"cause": "crashed", "message": "The trainer died.", "crashes": 1}');
INSERT INTO "events" VALUES('job_01m8g53rq5989e1h5cyp5783q6',5,'queued',1.79583856722700142861e+09,'{"reason": "crashed"}');
INSERT INTO "events" VALUES('job_01m8g53rrtdgcv82av5th3gxfs',3,'pause_requested',1.79583856723899102213e+09,'{}');
CREATE TABLE inputs (
	job_id VARCHAR(40) NOT NULL, 
	checkpoint_id VARCHAR(40) NOT NULL, 
	CONSTRAINT pk_inputs PRIMARY KEY (job_id, checkpoint_id), 
	CONSTRAINT fk_inputs_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
INSERT INTO "inputs" VALUES('job_01m8g53rgrqnd135pc6e3zdp0x','ckpt_01m8g53rdgpw17kqwdc9ks2ss5');
INSERT INTO "inputs" VALUES('job_01m8g53rj7z4x0z3bghwv2h4s9','ckpt_01m8g53rdgpw17kqwdc9ks2ss5');
CREATE TABLE job_labels (
	tenant VARCHAR(100) NOT NULL, 
	label VARCHAR(100) NOT NULL, 
	value VARCHAR(100) NOT NULL, 
	job_id VARCHAR(40) NOT NULL, 
	CONSTRAINT pk_job_labels PRIMARY KEY (tenant, label, value, job_id), 
	CONSTRAINT fk_job_labels_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
INSERT INTO "job_labels" VALUES('lab','of','one''s own','job_01m8g53rp8dknfg2zgy7exfdv2');
CREATE TABLE "jobs" (
	id VARCHAR(40) NOT NULL, 
	tenant VARCHAR(100) NOT NULL, 
	key_id VARCHAR(40) NOT NULL, 
	kind VARCHAR(20) NOT NULL, 
	name VARCHAR(100), 
	model_id VARCHAR(40), 
	model_name VARCHAR(100), 
	config JSON NOT NULL, 
	contract_version INTEGER NOT NULL, 
	labels JSON NOT NULL, 
	priority INTEGER NOT NULL, 
	device VARCHAR(10) NOT NULL, 
	idempotency_key VARCHAR(255), 
	idempotency_hash VARCHAR(64), 
	status VARCHAR(10) NOT NULL, 
	requested VARCHAR(10), 
	attempt INTEGER NOT NULL, 
	crashes INTEGER NOT NULL, 
	lease_owner VARCHAR(100), 
	lease_expires DOUBLE, 
	last_seq BIGINT NOT NULL, 
	step BIGINT NOT NULL, 
	total BIGINT NOT NULL, 
	steps_per_second DOUBLE, 
	best_checkpoint VARCHAR(40), 
	best_replica INTEGER, 
	best_loss DOUBLE, 
	last_checkpoint VARCHAR(40), 
	environment JSON, 
	error JSON, 
	created_at DOUBLE NOT NULL, 
	queued_at DOUBLE NOT NULL, 
	started_at DOUBLE, 
	ended_at DOUBLE, 
	driver VARCHAR(20) NOT NULL, 
	facts JSON NOT NULL, 
	summary JSON NOT NULL, 
	latest JSON NOT NULL, 
	parent_id VARCHAR(40), stored_bytes BIGINT DEFAULT '0' NOT NULL, claimed_at DOUBLE, ran_seconds DOUBLE DEFAULT '0' NOT NULL, traceparent VARCHAR(55), 
	CONSTRAINT pk_jobs PRIMARY KEY (id), 
	CONSTRAINT uq_jobs_tenant_idempotency_key UNIQUE (tenant, idempotency_key), 
	CONSTRAINT fk_jobs_model_id FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE SET NULL, 
	CONSTRAINT fk_jobs_parent_id FOREIGN KEY(parent_id) REFERENCES jobs (id) ON DELETE SET NULL
);
INSERT INTO "jobs" VALUES('job_01m8g53ran2hsmp2w2z1p1k4xd','lab','key_01m8g53r9hvgrb3va3f5wynnz4','train','succeeded','model_01m8g53ra69tbyp565xy8ndxjr','integrator','{"kind": "train", "name": "succeeded", "device": "auto", "labels": {}, "priority": 100, "max_seconds": null, "model": {"cell": {"type": "vanilla", "hidden_size": 3, "activation": "tanh"}, "input_size": 1, "output_size": 1, "architecture": "many_to_many", "vocabulary_size": null, "feedback": "identity", "num_layers": 1, "h0": "zeros", "connectivity": {"dale": null, "density": 1.0, "mask": null, "seed": 0, "symmetry": "none", "autapses": true, "frozen": [], "frozen_weights": null}, "initialisation": {"type": "uniform"}}, "data": {"type": "task", "name": "integrate_noise", "parameters": {}}, "training": {"steps": 1000, "batch_size": 64, "loss": {"time_weights": null, "type": "mse", "over": "elements"}, "regularisation": {"l1": 0.0, "l2": 0.0, "activity": 0.0, "orthogonality": 0.0, "omega": 0.0}, "clip": null, "optimizer": {"type": "adam", "lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-08}, "schedule": null, "warmup": 0, "bptt": {"window": null}, "teacher_forcing": 1.0, "held_out": {"size": 512, "seed": 0}, "evaluate_every": 100, "checkpoint_every": 500, "keep_checkpoints": 20, "log_every": 1, "profile_every": null, "early_stopping": null, "stop_at_skill": null}, "seed": 0, "replicas": 2, "dtype": "float32"}',1,'{}',100,'auto','succeeded','hash','succeeded',NULL,1,0,NULL,NULL,6,150,1000,NULL,'ckpt_01m8g53rdgpw17kqwdc9ks2ss5',0,0.25,'ckpt_01m8g53reabjv29gnbhbtcacpg','{"worker": "w", "device": "cpu", "engine": "e", "torch": "2", "threads": 1, "instruction_set": "avx2"}','null',1.79583856674199104312e+09,1.79583856674199104312e+09,1.79583856678298854833e+09,1.79583856688200235373e+09,'trainer','{"parameters": 19, "baseline_loss": 1.5, "total": 1000}','{"diverged": [{"replica": 1, "step": 120, "loss": null, "gradient_norm": 2000000000.0, "hint": null}], "stopped_replicas": [{"replica": 0, "step": 150, "reason": "early_stopping", "loss": 0.3}], "stopped": "max_seconds"}','{"loss": [0.5, null]}',NULL,65,1.79583856678298854833e+09,0.0990138053894043,NULL);
INSERT INTO "jobs" VALUES('job_01m8g53rgrqnd135pc6e3zdp0x','lab','key_01m8g53r9hvgrb3va3f5wynnz4','evaluate','evaluated',NULL,NULL,'{"kind": "evaluate", "name": "evaluated", "device": "auto", "labels": {}, "priority": 0, "max_seconds": null, "checkpoint": "ckpt_01m8g53rdgpw17kqwdc9ks2ss5", "replica": "all", "data": null, "loss": null, "lengths": [20, 40], "sequences": 512, "seed": 1}',1,'{}',0,'auto',NULL,NULL,'succeeded',NULL,1,0,NULL,NULL,4,1536,1536,NULL,NULL,NULL,NULL,NULL,NULL,'null',1.79583856693700098989e+09,1.79583856693700098989e+09,1.79583856696001434327e+09,1.79583856698001027105e+09,'trainer','{"parameters": 19, "baseline_loss": 1.5, "total": 1536}','{"loss": 0.5, "ci95": [0.4, 0.6]}','{}','job_01m8g53ran2hsmp2w2z1p1k4xd',13,1.79583856696001434327e+09,1.99959278106689453125e-02,NULL);
INSERT INTO "jobs" VALUES('job_01m8g53rj7z4x0z3bghwv2h4s9','lab','key_01m8g53r9hvgrb3va3f5wynnz4','evaluate','reading',NULL,NULL,'{"kind": "evaluate", "name": "reading", "device": "auto", "labels": {}, "priority": 0, "max_seconds": null, "checkpoint": "ckpt_01m8g53rdgpw17kqwdc9ks2ss5", "replica": "all", "data": null, "loss": null, "lengths": [20, 40], "sequences": 512, "seed": 1}',1,'{}',0,'auto',NULL,NULL,'queued',NULL,0,0,NULL,NULL,1,0,1536,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1.79583856698701095581e+09,1.79583856698701095581e+09,NULL,NULL,'trainer','{"parameters": 19, "baseline_loss": 1.5, "total": 1536}','{}','{}','job_01m8g53ran2hsmp2w2z1p1k4xd',0,NULL,0.0,NULL);
INSERT INTO "jobs" VALUES('job_01m8g53rjne41nvkdhvfva591a','lab','key_01m8g53r9hvgrb3va3f5wynnz4','train','failed','model_01m8g53ra69tbyp565xy8ndxjr','integrator','{"kind": "train", "name": "failed", "device": "auto", "labels": {}, "priority": 100, "max_seconds": null, "model": {"cell": {"type": "vanilla", "hidden_size": 3, "activation": "tanh"}, "input_size": 1, "output_size": 1, "architecture": "many_to_many", "vocabulary_size": null, "feedback": "identity", "num_layers": 1, "h0": "zeros", "connectivity": {"dale": null, "density": 1.0, "mask": null, "seed": 0, "symmetry": "none", "autapses": true, "frozen": [], "frozen_weights": null}, "initialisation": {"type": "uniform"}}, "data": {"type": "task", "name": "integrate_noise", "parameters": {}}, "training": {"steps": 1000, "batch_size": 64, "loss": {"time_weights": null, "type": "mse", "over": "elements"}, "regularisation": {"l1": 0.0, "l2": 0.0, "activity": 0.0, "orthogonality": 0.0, "omega": 0.0}, "clip": null, "optimizer": {"type": "adam", "lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-08}, "schedule": null, "warmup": 0, "bptt": {"window": null}, "teacher_forcing": 1.0, "held_out": {"size": 512, "seed": 0}, "evaluate_every": 100, "checkpoint_every": 500, "keep_checkpoints": 20, "log_every": 1, "profile_every": null, "early_stopping": null, "stop_at_skill": null}, "seed": 0, "replicas": 2, "dtype": "float32"}',1,'{}',100,'auto','failed','hash','failed',NULL,1,0,NULL,NULL,3,0,1000,NULL,NULL,NULL,NULL,NULL,NULL,'{"code": "out_of_memory", "message": "Too large.", "step": null, "checkpoint": null, "log": "Killed"}',1.79583856699698877329e+09,1.79583856699698877329e+09,1.79583856702599668504e+09,1.7958385670319914818e+09,'trainer','{"parameters": 19, "baseline_loss": 1.5, "total": 1000}','{}','{}',NULL,0,1.79583856702599668504e+09,5.9947967529296875e-03,NULL);
INSERT INTO "jobs" VALUES('job_01m8g53rm1z38ht4290weyw9fx','lab','key_01m8g53r9hvgrb3va3f5wynnz4','train','cancelled','model_01m8g53ra69tbyp565xy8ndxjr','integrator','{"kind": "train", "name": "cancelled", "device": "auto", "labels": {}, "priority": 100, "max_seconds": null, "model": {"cell": {"type": "vanilla", "hidden_size": 3, "activation": "tanh"}, "input_size": 1, "output_size": 1, "architecture": "many_to_many", "vocabulary_size": null, "feedback": "identity", "num_layers": 1, "h0": "zeros", "connectivity": {"dale": null, "density": 1.0, "mask": null, "seed": 0, "symmetry": "none", "autapses": true, "frozen": [], "frozen_weights": null}, "initialisation": {"type": "uniform"}}, "data": {"type": "task", "name": "integrate_noise", "parameters": {}}, "training": {"steps": 1000, "batch_size": 64, "loss": {"time_weights": null, "type": "mse", "over": "elements"}, "regularisation": {"l1": 0.0, "l2": 0.0, "activity": 0.0, "orthogonality": 0.0, "omega": 0.0}, "clip": null, "optimizer": {"type": "adam", "lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-08}, "schedule": null, "warmup": 0, "bptt": {"window": null}, "teacher_forcing": 1.0, "held_out": {"size": 512, "seed": 0}, "evaluate_every": 100, "checkpoint_every": 500, "keep_checkpoints": 20, "log_every": 1, "profile_every": null, "early_stopping": null, "stop_at_skill": null}, "seed": 0, "replicas": 2, "dtype": "float32"}',1,'{}',100,'auto','cancelled','hash','cancelled',NULL,1,0,NULL,NULL,3,0,1000,NULL,NULL,NULL,NULL,NULL,NULL,'null',1.7958385670410037041e+09,1.7958385670410037041e+09,1.79583856705898785594e+09,1.79583856706900596615e+09,'trainer','{"parameters": 19, "baseline_loss": 1.5, "total": 1000}','{}','{}',NULL,0,1.79583856705898785594e+09,1.00181102752685546875e-02,NULL);
INSERT INTO "jobs" VALUES('job_01m8g53rmz3m01qvhaqgyvxvd3','lab','key_01m8g53r9hvgrb3va3f5wynnz4','train','drained','model_01m8g53ra69tbyp565xy8ndxjr','integrator','{"kind": "train", "name": "drained", "device": "auto", "labels": {}, "priority": 100, "max_seconds": null, "model": {"cell": {"type": "vanilla", "hidden_size": 3, "activation": "tanh"}, "input_size": 1, "output_size": 1, "architecture": "many_to_many", "vocabulary_size": null, "feedback": "identity", "num_layers": 1, "h0": "zeros", "connectivity": {"dale": null, "density": 1.0, "mask": null, "seed": 0, "symmetry": "none", "autapses": true, "frozen": [], "frozen_weights": null}, "initialisation": {"type": "uniform"}}, "data": {"type": "task", "name": "integrate_noise", "parameters": {}}, "training": {"steps": 1000, "batch_size": 64, "loss": {"time_weights": null, "type": "mse", "over": "elements"}, "regularisation": {"l1": 0.0, "l2": 0.0, "activity": 0.0, "orthogonality": 0.0, "omega": 0.0}, "clip": null, "optimizer": {"type": "adam", "lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-08}, "schedule": null, "warmup": 0, "bptt": {"window": null}, "teacher_forcing": 1.0, "held_out": {"size": 512, "seed": 0}, "evaluate_every": 100, "checkpoint_every": 500, "keep_checkpoints": 20, "log_every": 1, "profile_every": null, "early_stopping": null, "stop_at_skill": null}, "seed": 0, "replicas": 2, "dtype": "float32"}',1,'{}',100,'auto','drained','hash','cancelled',NULL,1,0,NULL,NULL,4,0,1000,NULL,NULL,NULL,NULL,NULL,NULL,'null',1.79583856707198333737e+09,1.79583856707198333737e+09,1.79583856710099124907e+09,1.79583856713498830797e+09,'trainer','{"parameters": 19, "baseline_loss": 1.5, "total": 1000}','{}','{}',NULL,0,1.79583856710099124907e+09,8.006572723388671875e-03,NULL);
INSERT INTO "jobs" VALUES('job_01m8g53rp8dknfg2zgy7exfdv2','lab','key_01m8g53r9hvgrb3va3f5wynnz4','train','paused','model_01m8g53ra69tbyp565xy8ndxjr','integrator','{"kind": "train", "name": "paused", "device": "auto", "labels": {"of": "one''s own"}, "priority": 0, "max_seconds": null, "model": {"cell": {"type": "vanilla", "hidden_size": 3, "activation": "tanh"}, "input_size": 1, "output_size": 1, "architecture": "many_to_many", "vocabulary_size": null, "feedback": "identity", "num_layers": 1, "h0": "zeros", "connectivity": {"dale": null, "density": 1.0, "mask": null, "seed": 0, "symmetry": "none", "autapses": true, "frozen": [], "frozen_weights": null}, "initialisation": {"type": "uniform"}}, "data": {"type": "task", "name": "integrate_noise", "parameters": {}}, "training": {"steps": 1000, "batch_size": 64, "loss": {"time_weights": null, "type": "mse", "over": "elements"}, "regularisation": {"l1": 0.0, "l2": 0.0, "activity": 0.0, "orthogonality": 0.0, "omega": 0.0}, "clip": null, "optimizer": {"type": "adam", "lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-08}, "schedule": null, "warmup": 0, "bptt": {"window": null}, "teacher_forcing": 1.0, "held_out": {"size": 512, "seed": 0}, "evaluate_every": 100, "checkpoint_every": 500, "keep_checkpoints": 20, "log_every": 1, "profile_every": null, "early_stopping": null, "stop_at_skill": null}, "seed": 0, "replicas": 2, "dtype": "float32"}',1,'{"of": "one''s own"}',0,'auto','paused','hash','paused',NULL,0,0,NULL,NULL,2,0,1000,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1.79583856711599826813e+09,1.79583856711599826813e+09,NULL,NULL,'trainer','{"parameters": 19, "baseline_loss": 1.5, "total": 1000}','{}','{}',NULL,0,NULL,0.0,NULL);
INSERT INTO "jobs" VALUES('job_01m8g53rq5989e1h5cyp5783q6','lab','key_01m8g53r9hvgrb3va3f5wynnz4','train','interrupted','model_01m8g53ra69tbyp565xy8ndxjr','integrator','{"kind": "train", "name": "interrupted", "device": "auto", "labels": {}, "priority": 100, "max_seconds": null, "model": {"cell": {"type": "vanilla", "hidden_size": 3, "activation": "tanh"}, "input_size": 1, "output_size": 1, "architecture": "many_to_many", "vocabulary_size": null, "feedback": "identity", "num_layers": 1, "h0": "zeros", "connectivity": {"dale": null, "density": 1.0, "mask": null, "seed": 0, "symmetry": "none", "autapses": true, "frozen": [], "frozen_weights": null}, "initialisation": {"type": "uniform"}}, "data": {"type": "task", "name": "integrate_noise", "parameters": {}}, "training": {"steps": 1000, "batch_size": 64, "loss": {"time_weights": null, "type": "mse", "over": "elements"}, "regularisation": {"l1": 0.0, "l2": 0.0, "activity": 0.0, "orthogonality": 0.0, "omega": 0.0}, "clip": null, "optimizer": {"type": "adam", "lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-08}, "schedule": null, "warmup": 0, "bptt": {"window": null}, "teacher_forcing": 1.0, "held_out": {"size": 512, "seed": 0}, "evaluate_every": 100, "checkpoint_every": 500, "keep_checkpoints": 20, "log_every": 1, "profile_every": null, "early_stopping": null, "stop_at_skill": null}, "seed": 0, "replicas": 2, "dtype": "float32"}',1,'{}',100,'auto','interrupted','hash','queued',NULL,1,1,NULL,NULL,5,17,1000,NULL,NULL,NULL,NULL,'ckpt_01m8g53rr14ghzd2jzk9k79txn',NULL,'null',1.79583856714198875428e+09,1.79583856714198875428e+09,1.79583856716399645802e+09,NULL,'trainer','{"parameters": 19, "baseline_loss": 1.5, "total": 1000}','{}','{}',NULL,24,1.79583856716399645802e+09,6.3004970550537109375e-02,NULL);
INSERT INTO "jobs" VALUES('job_01m8g53rrkgypbg34pwsxtdpdp','lab','key_01m8g53r9hvgrb3va3f5wynnz4','train','queued','model_01m8g53ra69tbyp565xy8ndxjr','integrator','{"kind": "train", "name": "queued", "device": "cpu", "labels": {}, "priority": 0, "max_seconds": 3.5, "model": {"cell": {"type": "vanilla", "hidden_size": 3, "activation": "tanh"}, "input_size": 1, "output_size": 1, "architecture": "many_to_many", "vocabulary_size": null, "feedback": "identity", "num_layers": 1, "h0": "zeros", "connectivity": {"dale": null, "density": 1.0, "mask": null, "seed": 0, "symmetry": "none", "autapses": true, "frozen": [], "frozen_weights": null}, "initialisation": {"type": "uniform"}}, "data": {"type": "task", "name": "integrate_noise", "parameters": {}}, "training": {"steps": 1000, "batch_size": 64, "loss": {"time_weights": null, "type": "mse", "over": "elements"}, "regularisation": {"l1": 0.0, "l2": 0.0, "activity": 0.0, "orthogonality": 0.0, "omega": 0.0}, "clip": null, "optimizer": {"type": "adam", "lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-08}, "schedule": null, "warmup": 0, "bptt": {"window": null}, "teacher_forcing": 1.0, "held_out": {"size": 512, "seed": 0}, "evaluate_every": 100, "checkpoint_every": 500, "keep_checkpoints": 20, "log_every": 1, "profile_every": null, "early_stopping": null, "stop_at_skill": null}, "seed": 0, "replicas": 2, "dtype": "float32"}',1,'{}',0,'cpu','queued','hash','queued',NULL,0,0,NULL,NULL,1,0,1000,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1.79583856718700981139e+09,1.79583856718700981139e+09,NULL,NULL,'trainer','{"parameters": 19, "baseline_loss": 1.5, "total": 1000}','{}','{}',NULL,0,NULL,0.0,NULL);
INSERT INTO "jobs" VALUES('job_01m8g53rrtdgcv82av5th3gxfs','lab','key_01m8g53r9hvgrb3va3f5wynnz4','train','running','model_01m8g53ra69tbyp565xy8ndxjr','integrator','{"kind": "train", "name": "running", "device": "auto", "labels": {}, "priority": 100, "max_seconds": null, "model": {"cell": {"type": "vanilla", "hidden_size": 3, "activation": "tanh"}, "input_size": 1, "output_size": 1, "architecture": "many_to_many", "vocabulary_size": null, "feedback": "identity", "num_layers": 1, "h0": "zeros", "connectivity": {"dale": null, "density": 1.0, "mask": null, "seed": 0, "symmetry": "none", "autapses": true, "frozen": [], "frozen_weights": null}, "initialisation": {"type": "uniform"}}, "data": {"type": "task", "name": "integrate_noise", "parameters": {}}, "training": {"steps": 1000, "batch_size": 64, "loss": {"time_weights": null, "type": "mse", "over": "elements"}, "regularisation": {"l1": 0.0, "l2": 0.0, "activity": 0.0, "orthogonality": 0.0, "omega": 0.0}, "clip": null, "optimizer": {"type": "adam", "lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-08}, "schedule": null, "warmup": 0, "bptt": {"window": null}, "teacher_forcing": 1.0, "held_out": {"size": 512, "seed": 0}, "evaluate_every": 100, "checkpoint_every": 500, "keep_checkpoints": 20, "log_every": 1, "profile_every": null, "early_stopping": null, "stop_at_skill": null}, "seed": 0, "replicas": 2, "dtype": "float32"}',1,'{}',100,'auto','running','hash','running','pause',1,0,'worker',1.79583862723601365082e+09,3,5,1000,100.0,NULL,NULL,NULL,NULL,NULL,NULL,1.79583856719401025771e+09,1.79583856719401025771e+09,1.79583856722000098225e+09,NULL,'trainer','{"parameters": 19, "baseline_loss": 1.5, "total": 1000}','{}','{}',NULL,0,1.79583856722000098225e+09,0.0,NULL);
CREATE TABLE "keys" (
	id VARCHAR(40) NOT NULL, 
	tenant VARCHAR(100) NOT NULL, 
	name VARCHAR(100) NOT NULL, 
	prefix VARCHAR(32) NOT NULL, 
	hash BLOB NOT NULL, 
	scopes JSON NOT NULL, 
	expires_at DOUBLE, 
	max_active_jobs INTEGER, 
	created_at DOUBLE NOT NULL, 
	last_used_at DOUBLE, 
	limits JSON NOT NULL, 
	CONSTRAINT pk_keys PRIMARY KEY (id), 
	CONSTRAINT uq_keys_prefix UNIQUE (prefix)
);
INSERT INTO "keys" VALUES('key_01m8g53r9hvgrb3va3f5wynnz4','lab','frozen','832b68dd8729',X'F8EF175620E662B83A86006D1BEB69001B8FD841296FCE6E02D30CB340034BA4','["admin", "read"]',NULL,10,1.79583856671201729775e+09,NULL,'{}');
CREATE TABLE metric_blocks (
	job_id VARCHAR(40) NOT NULL, 
	first_step BIGINT NOT NULL, 
	last_step BIGINT NOT NULL, 
	names JSON NOT NULL, 
	replicas INTEGER NOT NULL, 
	data BLOB NOT NULL, 
	CONSTRAINT pk_metric_blocks PRIMARY KEY (job_id, first_step), 
	CONSTRAINT fk_metric_blocks_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
INSERT INTO "metric_blocks" VALUES('job_01m8g53ran2hsmp2w2z1p1k4xd',1,50,'["loss", "gradient_norm"]',2,X'0100000000000000020000000000000003000000000000000400000000000000050000000000000006000000000000000700000000000000080000000000000009000000000000000A000000000000000B000000000000000C000000000000000D000000000000000E000000000000000F0000000000000010000000000000001100000000000000120000000000000013000000000000001400000000000000150000000000000016000000000000001700000000000000180000000000000019000000000000001A000000000000001B000000000000001C000000000000001D000000000000001E000000000000001F0000000000000020000000000000002100000000000000220000000000000023000000000000002400000000000000250000000000000026000000000000002700000000000000280000000000000029000000000000002A000000000000002B000000000000002C000000000000002D000000000000002E000000000000002F00000000000000300000000000000031000000000000003200000000000000000000000000F03F0000000000488F40000000000000F0BF0000000000488FC000000000000000400000000000508F4000000000000000C00000000000508FC000000000000008400000000000588F4000000000000008C00000000000588FC000000000000010400000000000608F4000000000000010C00000000000608FC000000000000014400000000000688F4000000000000014C00000000000688FC000000000000018400000000000708F4000000000000018C00000000000708FC00000000000001C400000000000788F400000000000001CC00000000000788FC000000000000020400000000000808F4000000000000020C00000000000808FC000000000000022400000000000888F4000000000000022C00000000000888FC000000000000024400000000000908F4000000000000024C00000000000908FC000000000000026400000000000988F4000000000000026C00000000000988FC000000000000028400000000000A08F4000000000000028C00000000000A08FC00000000000002A400000000000A88F400000000000002AC00000000000A88FC00000000000002C400000000000B08F400000000000002CC00000000000B08FC00000000000002E400000000000B88F400000000000002EC00000000000B88FC000000000000030400000000000C08F4000000000000030C00000000000C08FC000000000000031400000000000C88F4000000000000031C00000000000C88FC000000000000032400000000000D08F4000000000000032C00000000000D08FC000000000000033400000000000D88F4000000000000033C00000000000D88FC000000000000034400000000000E08F4000000000000034C00000000000E08FC000000000000035400000000000E88F4000000000000035C00000000000E88FC000000000000036400000000000F08F4000000000000036C00000000000F08FC000000000000037400000000000F88F4000000000000037C00000000000F88FC00000000000003840000000000000904000000000000038C000000000000090C00000000000003940000000000004904000000000000039C000000000000490C00000000000003A4000000000000890400000000000003AC000000000000890C00000000000003B4000000000000C90400000000000003BC000000000000C90C00000000000003C4000000000001090400000000000003CC000000000001090C00000000000003D4000000000001490400000000000003DC000000000001490C00000000000003E4000000000001890400000000000003EC000000000001890C00000000000003F4000000000001C90400000000000003FC000000000001C90C00000000000004040000000000020904000000000000040C000000000002090C00000000000804040000000000024904000000000008040C000000000002490C00000000000004140000000000028904000000000000041C000000000002890C0000000000080414000000000002C904000000000008041C000000000002C90C00000000000004240000000000030904000000000000042C000000000003090C00000000000804240000000000034904000000000008042C000000000003490C00000000000004340000000000038904000000000000043C000000000003890C0000000000080434000000000003C904000000000008043C000000000003C90C00000000000004440000000000040904000000000000044C000000000004090C00000000000804440000000000044904000000000008044C000000000004490C00000000000004540000000000048904000000000000045C000000000004890C0000000000080454000000000004C904000000000008045C000000000004C90C00000000000004640000000000050904000000000000046C000000000005090C00000000000804640000000000054904000000000008046C000000000005490C00000000000004740000000000058904000000000000047C000000000005890C0000000000080474000000000005C904000000000008047C000000000005C90C00000000000004840000000000060904000000000000048C000000000006090C00000000000804840000000000064904000000000008048C000000000006490C00000000000004940000000000068904000000000000049C000000000006890C0');
INSERT INTO "metric_blocks" VALUES('job_01m8g53ran2hsmp2w2z1p1k4xd',51,100,'["loss", "gradient_norm"]',2,X'33000000000000003400000000000000350000000000000036000000000000003700000000000000380000000000000039000000000000003A000000000000003B000000000000003C000000000000003D000000000000003E000000000000003F0000000000000040000000000000004100000000000000420000000000000043000000000000004400000000000000450000000000000046000000000000004700000000000000480000000000000049000000000000004A000000000000004B000000000000004C000000000000004D000000000000004E000000000000004F0000000000000050000000000000005100000000000000520000000000000053000000000000005400000000000000550000000000000056000000000000005700000000000000580000000000000059000000000000005A000000000000005B000000000000005C000000000000005D000000000000005E000000000000005F0000000000000060000000000000006100000000000000620000000000000063000000000000006400000000000000000000000080494000000000006C904000000000008049C000000000006C90C00000000000004A4000000000007090400000000000004AC000000000007090C00000000000804A4000000000007490400000000000804AC000000000007490C00000000000004B4000000000007890400000000000004BC000000000007890C00000000000804B4000000000007C90400000000000804BC000000000007C90C00000000000004C4000000000008090400000000000004CC000000000008090C00000000000804C4000000000008490400000000000804CC000000000008490C00000000000004D4000000000008890400000000000004DC000000000008890C00000000000804D4000000000008C90400000000000804DC000000000008C90C00000000000004E4000000000009090400000000000004EC000000000009090C00000000000804E4000000000009490400000000000804EC000000000009490C00000000000004F4000000000009890400000000000004FC000000000009890C00000000000804F4000000000009C90400000000000804FC000000000009C90C000000000000050400000000000A0904000000000000050C00000000000A090C000000000004050400000000000A4904000000000004050C00000000000A490C000000000008050400000000000A8904000000000008050C00000000000A890C00000000000C050400000000000AC90400000000000C050C00000000000AC90C000000000000051400000000000B0904000000000000051C00000000000B090C000000000004051400000000000B4904000000000004051C00000000000B490C000000000008051400000000000B8904000000000008051C00000000000B890C00000000000C051400000000000BC90400000000000C051C00000000000BC90C000000000000052400000000000C0904000000000000052C00000000000C090C000000000004052400000000000C4904000000000004052C00000000000C490C000000000008052400000000000C8904000000000008052C00000000000C890C00000000000C052400000000000CC90400000000000C052C00000000000CC90C000000000000053400000000000D0904000000000000053C00000000000D090C000000000004053400000000000D4904000000000004053C00000000000D490C000000000008053400000000000D8904000000000008053C00000000000D890C00000000000C053400000000000DC90400000000000C053C00000000000DC90C000000000000054400000000000E0904000000000000054C00000000000E090C000000000004054400000000000E4904000000000004054C00000000000E490C000000000008054400000000000E8904000000000008054C00000000000E890C00000000000C054400000000000EC90400000000000C054C00000000000EC90C000000000000055400000000000F0904000000000000055C00000000000F090C000000000004055400000000000F4904000000000004055C00000000000F490C000000000008055400000000000F8904000000000008055C00000000000F890C00000000000C055400000000000FC90400000000000C055C00000000000FC90C00000000000005640000000000000914000000000000056C000000000000091C00000000000405640000000000004914000000000004056C000000000000491C00000000000805640000000000008914000000000008056C000000000000891C00000000000C0564000000000000C91400000000000C056C000000000000C91C00000000000005740000000000010914000000000000057C000000000001091C00000000000405740000000000014914000000000004057C000000000001491C00000000000805740000000000018914000000000008057C000000000001891C00000000000C0574000000000001C91400000000000C057C000000000001C91C00000000000005840000000000020914000000000000058C000000000002091C00000000000405840000000000024914000000000004058C000000000002491C00000000000805840000000000028914000000000008058C000000000002891C00000000000C0584000000000002C91400000000000C058C000000000002C91C00000000000005940000000000030914000000000000059C000000000003091C0');
INSERT INTO "metric_blocks" VALUES('job_01m8g53ran2hsmp2w2z1p1k4xd',101,150,'["loss", "gradient_norm"]',2,X'650000000000000066000000000000006700000000000000680000000000000069000000000000006A000000000000006B000000000000006C000000000000006D000000000000006E000000000000006F0000000000000070000000000000007100000000000000720000000000000073000000000000007400000000000000750000000000000076000000000000007700000000000000780000000000000079000000000000007A000000000000007B000000000000007C000000000000007D000000000000007E000000000000007F0000000000000080000000000000008100000000000000820000000000000083000000000000008400000000000000850000000000000086000000000000008700000000000000880000000000000089000000000000008A000000000000008B000000000000008C000000000000008D000000000000008E000000000000008F0000000000000090000000000000009100000000000000920000000000000093000000000000009400000000000000950000000000000096000000000000000000000000405940000000000034914000000000004059C000000000003491C00000000000805940000000000038914000000000008059C000000000003891C00000000000C0594000000000003C91400000000000C059C000000000003C91C00000000000005A4000000000004091400000000000005AC000000000004091C00000000000405A4000000000004491400000000000405AC000000000004491C00000000000805A4000000000004891400000000000805AC000000000004891C00000000000C05A4000000000004C91400000000000C05AC000000000004C91C00000000000005B4000000000005091400000000000005BC000000000005091C00000000000405B4000000000005491400000000000405BC000000000005491C00000000000805B4000000000005891400000000000805BC000000000005891C00000000000C05B4000000000005C91400000000000C05BC000000000005C91C00000000000005C4000000000006091400000000000005CC000000000006091C00000000000405C4000000000006491400000000000405CC000000000006491C00000000000805C4000000000006891400000000000805CC000000000006891C00000000000C05C4000000000006C91400000000000C05CC000000000006C91C00000000000005D4000000000007091400000000000005DC000000000007091C00000000000405D4000000000007491400000000000405DC000000000007491C00000000000805D4000000000007891400000000000805DC000000000007891C00000000000C05D4000000000007C91400000000000C05DC000000000007C91C00000000000005E4000000000008091400000000000005EC000000000008091C00000000000405E4000000000008491400000000000405EC000000000008491C00000000000805E4000000000008891400000000000805EC000000000008891C00000000000C05E4000000000008C91400000000000C05EC000000000008C91C00000000000005F4000000000009091400000000000005FC000000000009091C00000000000405F4000000000009491400000000000405FC000000000009491C00000000000805F4000000000009891400000000000805FC000000000009891C00000000000C05F4000000000009C91400000000000C05FC000000000009C91C000000000000060400000000000A0914000000000000060C00000000000A091C000000000002060400000000000A4914000000000002060C00000000000A491C000000000004060400000000000A8914000000000004060C00000000000A891C000000000006060400000000000AC914000000000006060C00000000000AC91C000000000008060400000000000B0914000000000008060C00000000000B091C00000000000A060400000000000B491400000000000A060C00000000000B491C00000000000C060400000000000B891400000000000C060C00000000000B891C00000000000E060400000000000BC91400000000000E060C00000000000BC91C000000000000061400000000000C0914000000000000061C00000000000C091C000000000002061400000000000C4914000000000002061C00000000000C491C000000000004061400000000000C8914000000000004061C00000000000C891C000000000006061400000000000CC914000000000006061C00000000000CC91C000000000008061400000000000D0914000000000008061C00000000000D091C00000000000A061400000000000D491400000000000A061C00000000000D491C00000000000C061400000000000D891400000000000C061C00000000000D891C00000000000E061400000000000DC91400000000000E061C00000000000DC91C000000000000062400000000000E0914000000000000062C00000000000E091C000000000002062400000000000E4914000000000002062C00000000000E491C000000000004062400000000000E8914000000000004062C00000000000E891C000000000006062400000000000EC914000000000006062C00000000000EC91C000000000008062400000000000F0914000000000008062C00000000000F091C00000000000A062400000000000F491400000000000A062C00000000000F491C00000000000C062400000000000F891400000000000C062C00000000000F891C0');
INSERT INTO "metric_blocks" VALUES('job_01m8g53rq5989e1h5cyp5783q6',1,10,'["loss", "gradient_norm"]',2,X'0100000000000000020000000000000003000000000000000400000000000000050000000000000006000000000000000700000000000000080000000000000009000000000000000A00000000000000000000000000F03F0000000000488F40000000000000F0BF0000000000488FC000000000000000400000000000508F4000000000000000C00000000000508FC000000000000008400000000000588F4000000000000008C00000000000588FC000000000000010400000000000608F4000000000000010C00000000000608FC000000000000014400000000000688F4000000000000014C00000000000688FC000000000000018400000000000708F4000000000000018C00000000000708FC00000000000001C400000000000788F400000000000001CC00000000000788FC000000000000020400000000000808F4000000000000020C00000000000808FC000000000000022400000000000888F4000000000000022C00000000000888FC000000000000024400000000000908F4000000000000024C00000000000908FC0');
INSERT INTO "metric_blocks" VALUES('job_01m8g53rq5989e1h5cyp5783q6',11,17,'["loss", "gradient_norm"]',2,X'0B000000000000000C000000000000000D000000000000000E000000000000000F000000000000001000000000000000110000000000000000000000000026400000000000988F4000000000000026C00000000000988FC000000000000028400000000000A08F4000000000000028C00000000000A08FC00000000000002A400000000000A88F400000000000002AC00000000000A88FC00000000000002C400000000000B08F400000000000002CC00000000000B08FC00000000000002E400000000000B88F400000000000002EC00000000000B88FC000000000000030400000000000C08F4000000000000030C00000000000C08FC000000000000031400000000000C88F4000000000000031C00000000000C88FC0');
INSERT INTO "metric_blocks" VALUES('job_01m8g53rrtdgcv82av5th3gxfs',1,5,'["loss", "gradient_norm"]',2,X'01000000000000000200000000000000030000000000000004000000000000000500000000000000000000000000F03F0000000000488F40000000000000F0BF0000000000488FC000000000000000400000000000508F4000000000000000C00000000000508FC000000000000008400000000000588F4000000000000008C00000000000588FC000000000000010400000000000608F4000000000000010C00000000000608FC000000000000014400000000000688F4000000000000014C00000000000688FC0');
CREATE TABLE "models" (
	id VARCHAR(40) NOT NULL, 
	tenant VARCHAR(100) NOT NULL, 
	name VARCHAR(100) NOT NULL, 
	config JSON NOT NULL, 
	contract_version INTEGER NOT NULL, 
	parameters BIGINT NOT NULL, 
	pinned_checkpoint VARCHAR(40), 
	pinned_replica INTEGER, 
	created_at DOUBLE NOT NULL, serving_before JSON, 
	CONSTRAINT pk_models PRIMARY KEY (id), 
	CONSTRAINT uq_models_tenant_name UNIQUE (tenant, name), 
	CONSTRAINT fk_models_pinned_checkpoint FOREIGN KEY(pinned_checkpoint) REFERENCES checkpoints (id) ON DELETE SET NULL
);
INSERT INTO "models" VALUES('model_01m8g53ra69tbyp565xy8ndxjr','lab','integrator','{"cell": {"type": "vanilla", "hidden_size": 3, "activation": "tanh"}, "input_size": 1, "output_size": 1, "architecture": "many_to_many", "vocabulary_size": null, "feedback": "identity", "num_layers": 1, "h0": "zeros", "connectivity": {"dale": null, "density": 1.0, "mask": null, "seed": 0, "symmetry": "none", "autapses": true, "frozen": [], "frozen_weights": null}, "initialisation": {"type": "uniform"}}',1,19,'ckpt_01m8g53rdgpw17kqwdc9ks2ss5',0,1.79583856672601842882e+09,'null');
CREATE TABLE pins (
	model_id VARCHAR(40) NOT NULL, 
	role VARCHAR(120) NOT NULL, 
	checkpoint_id VARCHAR(40) NOT NULL, 
	replica INTEGER NOT NULL, 
	share DOUBLE, 
	CONSTRAINT pk_pins PRIMARY KEY (model_id, role), 
	CONSTRAINT fk_pins_model_id FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE CASCADE, 
	CONSTRAINT fk_pins_checkpoint_id FOREIGN KEY(checkpoint_id) REFERENCES checkpoints (id) ON DELETE CASCADE
);
INSERT INTO "pins" VALUES('model_01m8g53ra69tbyp565xy8ndxjr','alias:champion','ckpt_01m8g53rdgpw17kqwdc9ks2ss5',1,NULL);
CREATE TABLE sessions (
	id VARCHAR(40) NOT NULL, 
	tenant VARCHAR(100) NOT NULL, 
	key_id VARCHAR(40) NOT NULL, 
	model_name VARCHAR(100), 
	checkpoint_id VARCHAR(40) NOT NULL, 
	replica INTEGER, 
	sequences INTEGER NOT NULL, 
	ttl DOUBLE NOT NULL, 
	owner VARCHAR(40), 
	epoch BIGINT NOT NULL, 
	step BIGINT NOT NULL, 
	state BLOB, 
	asked_at BIGINT, 
	asked_hash BLOB, 
	answer BLOB, 
	correlation VARCHAR(255), 
	created_at DOUBLE NOT NULL, 
	expires_at DOUBLE NOT NULL, 
	CONSTRAINT pk_sessions PRIMARY KEY (id), 
	CONSTRAINT fk_sessions_checkpoint_id FOREIGN KEY(checkpoint_id) REFERENCES checkpoints (id) ON DELETE CASCADE, 
	CONSTRAINT uq_sessions_tenant_correlation UNIQUE (tenant, correlation)
);
INSERT INTO "sessions" VALUES('session_01m8g53rg0t9hm2wh76zk3j7dz','lab','key_01m8g53r9hvgrb3va3f5wynnz4','integrator','ckpt_01m8g53rdgpw17kqwdc9ks2ss5',0,1,3600.0,'api',1,0,NULL,NULL,NULL,NULL,NULL,1.79583856692098832127e+09,1.79584216692098832127e+09);
CREATE TABLE stored (
	tenant VARCHAR(100) NOT NULL, 
	key_id VARCHAR(40) NOT NULL, 
	bytes BIGINT NOT NULL, 
	CONSTRAINT pk_stored PRIMARY KEY (tenant, key_id)
);
INSERT INTO "stored" VALUES('lab','key_01m8g53r9hvgrb3va3f5wynnz4',102);
CREATE TABLE tenants (
	tenant VARCHAR(100) NOT NULL, 
	weight INTEGER NOT NULL, 
	limits JSON NOT NULL, 
	CONSTRAINT pk_tenants PRIMARY KEY (tenant)
);
INSERT INTO "tenants" VALUES('lab',2,'{"running_jobs": 8}');
CREATE TABLE workers (
	id VARCHAR(100) NOT NULL, 
	host VARCHAR(255) NOT NULL, 
	pid INTEGER NOT NULL, 
	device VARCHAR(10) NOT NULL, 
	job_id VARCHAR(40), 
	version TEXT NOT NULL, 
	started_at DOUBLE NOT NULL, 
	seen_at DOUBLE NOT NULL, 
	CONSTRAINT pk_workers PRIMARY KEY (id)
);
INSERT INTO "workers" VALUES('worker','host',1,'cpu','job_01m8g53rrtdgcv82av5th3gxfs','0.1.0',1.79583856724200844768e+09,1.79583856725299215312e+09);
CREATE INDEX ix_jobs_tenant_id ON jobs (tenant, id);
CREATE INDEX ix_checkpoints_weights_sha256 ON checkpoints (weights_sha256);
CREATE INDEX ix_checkpoints_state_sha256 ON checkpoints (state_sha256);
CREATE INDEX ix_artifacts_sha256 ON artifacts (sha256);
CREATE INDEX ix_inputs_checkpoint_id ON inputs (checkpoint_id);
CREATE INDEX ix_jobs_turn ON jobs (device, tenant, priority DESC, queued_at, id, key_id) WHERE status = 'queued' AND driver = 'trainer';
CREATE INDEX ix_jobs_running ON jobs (tenant, key_id) WHERE status = 'running';
CREATE INDEX ix_jobs_key_open ON jobs (key_id, status) WHERE ended_at IS NULL;
CREATE INDEX ix_jobs_tenant_open ON jobs (tenant, status) WHERE ended_at IS NULL;
CREATE INDEX ix_jobs_tenant_name_id ON jobs (tenant, name, id);
CREATE INDEX ix_jobs_tenant_model_name_id ON jobs (tenant, model_name, id);
CREATE INDEX ix_jobs_tenant_kind_id ON jobs (tenant, kind, id);
CREATE INDEX ix_jobs_tenant_status_id ON jobs (tenant, status, id);
CREATE INDEX ix_jobs_parent_id_tenant_id ON jobs (parent_id, tenant, id);
CREATE INDEX ix_jobs_model_id_status ON jobs (model_id, status);
CREATE INDEX ix_jobs_status_ended_at ON jobs (status, ended_at);
CREATE INDEX ix_jobs_line ON jobs (tenant, priority DESC, queued_at, id, device) WHERE status = 'queued' AND driver = 'trainer';
CREATE INDEX ix_jobs_waiting ON jobs (device, priority DESC, queued_at, id) WHERE status = 'queued' AND driver = 'trainer';
CREATE INDEX ix_jobs_trained ON jobs (model_id, ended_at) WHERE status = 'succeeded' AND best_checkpoint IS NOT NULL;
CREATE INDEX ix_keys_tenant_id ON keys (tenant, id);
CREATE INDEX ix_models_tenant_id ON models (tenant, id);
CREATE INDEX ix_models_pinned_checkpoint ON models (pinned_checkpoint);
CREATE INDEX ix_job_labels_job_id ON job_labels (job_id);
CREATE INDEX ix_pins_checkpoint_id ON pins (checkpoint_id);
CREATE INDEX ix_sessions_tenant_id ON sessions (tenant, id);
CREATE INDEX ix_sessions_key_id ON sessions (key_id);
CREATE INDEX ix_sessions_checkpoint_id ON sessions (checkpoint_id);
CREATE INDEX ix_sessions_expires_at ON sessions (expires_at);
COMMIT;
