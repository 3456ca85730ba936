/* SPDX-License-Identifier: BSD-3-Clause */
/* src/vfio/migrate.c: what a model holds is given back and taken again (->leave(), ->enter()). */
#include <uvfio/migration.h>
#include <semaphore.h>
#include "vfio_fixture.h"
#include "vfio/vfio_uapi.h"

enum { STOP = 1, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P };

#define LATE -EINPROGRESS

/* What the model does, and what was done with it. */
static struct {
	int leave, enter; /* what these return */
	unsigned leaves, enters, commits, resets;
	bool saved_before_leave, loaded_before_leave;
	bool held;
	bool aside;
	unsigned late_saves, late_loads; /* that say LATE, and answer from another thread */
	unsigned nr_saves, nr_loads, ends;
	bool begun;
	pthread_mutex_t lock; /* the rest */
	pthread_cond_t cond;
	bool asked; /* one of them has returned LATE */
	struct uvfio_error *err;
} model = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

static int answer(int with, struct uvfio_error *err)
{
	if (with != LATE)
		return with ? uvfio_error_set(err, with, "it was asked to fail") : 0;
	pthread_mutex_lock(&model.lock);
	model.asked = true;
	model.err = err;
	pthread_cond_broadcast(&model.cond);
	pthread_mutex_unlock(&model.lock);
	return LATE;
}

static int leave(void *priv, struct uvfio_error *err)
{
	struct probe *p = priv;

	assert_false(p->running);
	model.leaves++;
	if (!model.leave)
		model.held = false;
	return answer(model.leave, err);
}

static int enter(void *priv, struct uvfio_error *err)
{
	struct probe *p = priv;

	assert_false(p->running);
	model.enters++;
	if (!model.enter)
		model.held = true;
	return answer(model.enter, err);
}

static void *answer_late(void *dev)
{
	uvfio_migration_done(dev, 0);
	return NULL;
}

/* LATE, for as many times. */
static int maybe_late(struct probe *p, unsigned *times)
{
	pthread_t thread;

	if (!*times)
		return 0;
	(*times)--;
	assert_int_equal(pthread_create(&thread, NULL, answer_late, p->dev), 0);
	pthread_detach(thread);
	return LATE;
}

static int save(void *priv, struct uvfio_save *out, bool stopped, bool first)
{
	assert_int_not_equal(first, model.begun);
	model.begun = true;
	model.nr_saves++;
	if (maybe_late(priv, &model.late_saves))
		return LATE;
	if (!stopped)
		return 0;
	model.saved_before_leave |= model.held;
	uvfio_save_section(out, "HELD", 1);
	uvfio_save_u32(out, 0x12345678);
	return 0;
}

static void end(void *priv)
{
	model.begun = false;
	model.ends++;
}

static int load(void *priv, struct uvfio_load *in, bool first, struct uvfio_error *err)
{
	model.nr_loads++;
	/* All of it, each time. */
	assert_int_equal(uvfio_load_u32(in), 0x12345678);
	assert_true(uvfio_load_ok(in));
	if (maybe_late(priv, &model.late_loads))
		return LATE;
	model.loaded_before_leave |= model.held;
	model.aside = true;
	return 0;
}

/* What is aside is used up. */
static int commit(void *priv, struct uvfio_error *err)
{
	if (!model.aside)
		return uvfio_error_set(err, -EINVAL, "nothing is aside");
	model.aside = false;
	model.commits++;
	return 0;
}

static void forget(void *priv)
{
	model.aside = false;
}

static uint64_t size(void *priv)
{
	return 0;
}

static void reset(void *priv, enum uvfio_reset_kind kind)
{
	probe_model.reset(priv, kind);
	model.held = true;
	model.begun = false;
	model.resets++;
}

static const struct uvfio_migration_ops ops = {
	.can = UVFIO_MIGRATE_PRE_COPY,
	.save = save,
	.load = load,
	.commit = commit,
	.forget = forget,
	.size = size,
	.leave = leave,
	.enter = enter,
	.end = end,
};

/* ---- the client ---- */

static struct vfio_migration_file *given;

static int give_migration(struct vfio_client *client, struct vfio_migration_file *file, int32_t *fd)
{
	given = file;
	*fd = 77;
	return 0;
}

static void drop(void)
{
	if (given)
		vfio_migration_release(given);
	given = NULL;
}

static struct uvfio_model holding_model;
static struct vfio_client_ops holding_client;

static void up(struct fixture *f)
{
	holding_model = probe_model;
	holding_model.name = "holding";
	holding_model.migration = &ops;
	holding_model.reset = reset;
	holding_client = client_ops;
	holding_client.give_migration = give_migration;
	fixture_machine(f);
	assert_int_equal(vfio_machine_add_model(f->machine, &holding_model), 0);
	f->tc.client.ops = &holding_client;
	fixture_add(f, "holding");
	fixture_open(f);
	config_put(f, PCI_COMMAND, 2, COMMAND_ON);
	model.leave = model.enter = 0;
	model.leaves = model.enters = model.commits = model.resets = 0;
	model.late_saves = model.late_loads = model.nr_saves = model.nr_loads = model.ends = 0;
	model.saved_before_leave = model.loaded_before_leave = model.aside = model.asked = false;
	model.held = true;
}

static int feature(struct fixture *f, unsigned flags, struct vfio_device_feature_mig_state *state)
{
	struct {
		struct vfio_device_feature hdr;
		struct vfio_device_feature_mig_state state;
	} buf = {{sizeof(buf), flags | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE}, *state};
	int ret = dev_ioctl(f, VFIO_DEVICE_FEATURE, &buf);

	*state = buf.state;
	return ret;
}

static int set(struct fixture *f, uint32_t target)
{
	struct vfio_device_feature_mig_state state = {target, -1};

	return feature(f, VFIO_DEVICE_FEATURE_SET, &state);
}

static uint32_t get(struct fixture *f)
{
	struct vfio_device_feature_mig_state state = {99, -1};

	assert_int_equal(feature(f, VFIO_DEVICE_FEATURE_GET, &state), 0);
	return state.device_state;
}

/* A SET in a thread of its own, which waits for the model. */
struct setting {
	struct fixture *f;
	uint32_t target;
	int ret;
	pthread_t thread;
};

static void *run_set(void *arg)
{
	struct setting *s = arg;

	s->ret = set(s->f, s->target);
	return NULL;
}

static void set_begin(struct setting *s, struct fixture *f, uint32_t target)
{
	*s = (struct setting){.f = f, .target = target};
	assert_int_equal(pthread_create(&s->thread, NULL, run_set, s), 0);
	pthread_mutex_lock(&model.lock);
	while (!model.asked)
		pthread_cond_wait(&model.cond, &model.lock);
	model.asked = false;
	pthread_mutex_unlock(&model.lock);
}

static int set_end(struct setting *s)
{
	pthread_join(s->thread, NULL);
	return s->ret;
}

/* ---- tests ---- */

static uint8_t stream[4096];

static size_t read_stream(void)
{
	size_t len = 0;
	ssize_t n;

	while ((n = vfio_migration_read(given, stream + len, sizeof(stream) - len)) > 0)
		len += (size_t)n;
	assert_int_equal(n, 0);
	return len;
}

static void test_given_back_and_taken(void **state)
{
	struct fixture f;
	size_t len;

	up(&f);
	assert_int_equal(set(&f, STOP), 0);
	assert_true(model.held);
	assert_int_equal(model.leaves, 0);
	assert_int_equal(set(&f, STOP_COPY), 0);
	assert_int_equal(model.leaves, 1);
	assert_false(model.held);
	len = read_stream();
	assert_false(model.saved_before_leave);
	drop();
	assert_int_equal(set(&f, RUNNING), 0);
	assert_int_equal(model.enters, 1);
	assert_true(model.held);
	assert_true(f.probe->running);

	/* By way of pre-copy there is one of each, too. */
	assert_int_equal(set(&f, PRE_COPY), 0);
	assert_int_equal(model.leaves, 1);
	assert_int_equal(set(&f, STOP_COPY), 0);
	assert_int_equal(model.leaves, 2);
	drop();
	assert_int_equal(set(&f, RESUMING), 0);
	assert_int_equal(model.enters, 1); /* STOP alone is no reason, and was on the way */
	assert_int_equal(model.leaves, 2);
	assert_int_equal(vfio_migration_write(given, stream, len), len);
	assert_false(model.loaded_before_leave);
	assert_int_equal(set(&f, RUNNING), 0);
	assert_int_equal(model.commits, 1);
	assert_int_equal(model.enters, 2);
	drop();

	/* A source is left in STOP. */
	assert_int_equal(set(&f, STOP_COPY), 0);
	drop();
	assert_int_equal(set(&f, STOP), 0);
	assert_false(model.held);
	assert_int_equal(set(&f, STOP_COPY), 0);
	drop();
	assert_int_equal(model.leaves, 3);
	assert_int_equal(set(&f, STOP), 0);
	assert_int_equal(set(&f, RUNNING), 0);
	assert_int_equal(model.enters, 3);
	assert_true(model.held);
	fixture_close(&f);
}

static void test_refusals_change_nothing(void **state)
{
	struct fixture f;
	size_t len;

	up(&f);
	/* It cannot leave: it runs on. */
	model.leave = -EIO;
	assert_int_equal(set(&f, PRE_COPY), 0);
	assert_int_equal(set(&f, STOP_COPY), -EIO);
	assert_int_equal(get(&f), PRE_COPY);
	assert_true(f.probe->running);
	assert_int_equal(bar_get(&f, 0, REG_ID, 4), PROBE_ID);
	assert_int_equal(vfio_migration_read(given, stream, 10), 10);
	assert_int_equal(set(&f, RUNNING), 0);
	assert_int_equal(vfio_migration_read(given, stream, 10), -ENODEV);
	drop();

	/* It cannot have it again: it stays stopped, and later it can. */
	model.leave = 0;
	model.enter = -EBUSY;
	assert_int_equal(set(&f, STOP_COPY), 0);
	len = read_stream();
	assert_int_equal(set(&f, RUNNING), -EBUSY);
	assert_int_equal(get(&f), STOP);
	model.enter = 0;
	assert_int_equal(set(&f, RUNNING), 0);
	drop();

	/* Likewise with what was loaded, which the model has by then. */
	assert_int_equal(set(&f, RESUMING), 0);
	assert_int_equal(vfio_migration_write(given, stream, len), len);
	model.enter = -EBUSY;
	assert_int_equal(set(&f, RUNNING), -EBUSY);
	assert_int_equal(get(&f), RESUMING);
	assert_int_equal(set(&f, STOP), -EBUSY);
	assert_int_equal(model.commits, 1);
	assert_false(f.probe->running);
	model.enter = 0;
	assert_int_equal(set(&f, RUNNING), 0);
	assert_int_equal(model.commits, 1);
	drop();

	/* And what comes next is loaded as ever. */
	assert_int_equal(set(&f, RESUMING), 0);
	assert_int_equal(vfio_migration_write(given, stream, len), len);
	assert_int_equal(set(&f, RUNNING), 0);
	assert_int_equal(model.commits, 2);
	drop();
	fixture_close(&f);
}

static void test_a_late_answer(void **state)
{
	struct setting s;
	struct fixture f;

	up(&f);
	model.leave = model.enter = LATE;
	set_begin(&s, &f, STOP_COPY);
	uvfio_migration_done(f.probe->dev, 0);
	assert_int_equal(set_end(&s), 0);
	assert_int_equal(get(&f), STOP_COPY);
	set_begin(&s, &f, RUNNING);
	uvfio_error_set(model.err, -EBUSY, "the other side has it");
	uvfio_migration_done(f.probe->dev, -EBUSY);
	assert_int_equal(set_end(&s), -EBUSY);
	assert_int_equal(get(&f), STOP);
	/* Nobody has asked. */
	uvfio_migration_done(f.probe->dev, -EIO);
	set_begin(&s, &f, RUNNING);
	uvfio_migration_done(f.probe->dev, 0);
	assert_int_equal(set_end(&s), 0);
	assert_true(f.probe->running);
	drop();
	fixture_close(&f);
}

/* What is saved, or taken, is not there yet: whoever reads or writes waits. */
static void test_late_data(void **state)
{
	struct fixture f;
	size_t len;

	up(&f);
	assert_int_equal(set(&f, PRE_COPY), 0);
	model.late_saves = 3;
	/* The header of the stream comes first. */
	assert_int_equal(vfio_migration_read(given, stream, 64), 64);
	assert_int_equal(vfio_migration_read(given, stream + 64, 64), -ENOMSG);
	assert_int_equal(model.nr_saves, 4);
	model.late_saves = 2;
	assert_int_equal(set(&f, STOP_COPY), 0);
	len = 64;
	for (ssize_t n; (n = vfio_migration_read(given, stream + len, sizeof(stream) - len)) > 0;)
		len += (size_t)n;
	assert_int_equal(model.nr_saves, 7);
	assert_int_equal(model.ends, 0);
	assert_int_equal(set(&f, STOP), 0);
	assert_int_equal(model.ends, 1);
	drop();
	assert_int_equal(set(&f, RESUMING), 0);
	model.late_loads = 3;
	assert_int_equal(vfio_migration_write(given, stream, len), len);
	assert_int_equal(model.nr_loads, 4);
	assert_int_equal(set(&f, RUNNING), 0);
	assert_int_equal(model.commits, 1);
	assert_int_equal(model.ends, 1);
	drop();
	/* A session that is given up. */
	assert_int_equal(set(&f, PRE_COPY), 0);
	assert_int_equal(set(&f, RUNNING), 0);
	assert_int_equal(model.ends, 2);
	drop();
	fixture_close(&f);
}

static void *run_reset(void *arg)
{
	struct fixture *f = arg;

	return (void *)(intptr_t)dev_ioctl(f, VFIO_DEVICE_RESET, NULL);
}

static void test_a_reset_waits_for_the_answer(void **state)
{
	pthread_t thread;
	struct setting s;
	struct fixture f;
	void *ret;

	up(&f);
	model.leave = LATE;
	set_begin(&s, &f, STOP_COPY);
	assert_int_equal(pthread_create(&thread, NULL, run_reset, &f), 0);
	assert_int_equal(model.resets, 0); /* it cannot be: the change holds it up */
	uvfio_migration_done(f.probe->dev, 0);
	assert_int_equal(set_end(&s), 0);
	pthread_join(thread, &ret);
	assert_int_equal((intptr_t)ret, 0);
	assert_int_equal(get(&f), RUNNING);
	assert_true(model.held);
	assert_int_equal(model.enters, 0);
	drop();

	/* One that comes between the model's part and ->enter() makes the load count for nothing.
	 */
	model.leave = 0;
	assert_int_equal(set(&f, STOP_COPY), 0);
	read_stream();
	drop();
	model.enter = -EBUSY;
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(set(&f, RESUMING), 0);
	assert_int_equal(set(&f, STOP), -EINVAL); /* nothing has come */
	assert_int_equal(model.commits, 0);
	drop();
	fixture_close(&f);
}

static void note_removed(void *arg, const char *name)
{
	sem_post(arg);
}

static void test_removal_waits_for_the_answer(void **state)
{
	struct uvfio_error err = {""};
	struct setting s;
	struct fixture f;
	sem_t removed;
	int ret;

	up(&f);
	sem_init(&removed, 0, 0);
	model.leave = LATE;
	set_begin(&s, &f, STOP_COPY);
	assert_int_equal(vfio_machine_remove_device(f.machine, "0000:01:00.0", VFIO_REMOVE_SURPRISE,
						    note_removed, &removed, &err),
			 0);
	uvfio_migration_done(f.probe->dev, 0);
	ret = set_end(&s);
	assert_true(ret == 0 || ret == -EIO); /* what was begun ends; cut before, or after */
	model.enter = 0;
	while ((ret = set(&f, STOP_COPY)) == 0)
		sched_yield();
	assert_int_equal(ret, -EIO);
	drop();
	vfio_device_release(f.df);
	f.df = NULL;
	sem_wait(&removed);
	sem_destroy(&removed);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_given_back_and_taken),
		cmocka_unit_test(test_refusals_change_nothing),
		cmocka_unit_test(test_a_late_answer),
		cmocka_unit_test(test_late_data),
		cmocka_unit_test(test_a_reset_waits_for_the_answer),
		cmocka_unit_test(test_removal_waits_for_the_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
