/* SPDX-License-Identifier: BSD-3-Clause */
/* src/vfio/migrate*.c: a device that is moved (E.2, E.3, and A.10's features of it). */
#include <sched.h>
#include <semaphore.h>
#include <uvfio/migration.h>
#include "vfio_fixture.h"
#include "vfio/observe.h"
#include "vfio/vfio_uapi.h"

#define GET   VFIO_DEVICE_FEATURE_GET
#define SET   VFIO_DEVICE_FEATURE_SET
#define PROBE VFIO_DEVICE_FEATURE_PROBE

enum { STOP = 1, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P };

/* ---- a probe that can be moved: its scratch register and how many writes it has seen ---- */

static struct {
	uint32_t scratch, writes;
	bool there;
	unsigned nr_forgotten;
} aside;

static int moving_save(void *priv, struct uvfio_save *out, bool stopped, bool first)
{
	struct probe *p = priv;

	if (!stopped)
		return 0;
	assert_false(p->running);
	uvfio_save_section(out, "PROB", 1);
	uvfio_save_u32(out, (uint32_t)uvfio_reg_get(p->dev, 0, REG_SCRATCH, 4));
	uvfio_save_u32(out, p->writes);
	return 0;
}

static int moving_load(void *priv, struct uvfio_load *in, bool first, struct uvfio_error *err)
{
	aside.scratch = uvfio_load_u32(in);
	aside.writes = uvfio_load_u32(in);
	aside.there = uvfio_load_is(in, "PROB") && uvfio_load_version(in) == 1 && uvfio_load_ok(in);
	return aside.there ? 0 : uvfio_error_set(err, -EINVAL, "a section %s", uvfio_load_kind(in));
}

static int moving_commit(void *priv, struct uvfio_error *err)
{
	struct probe *p = priv;

	if (!aside.there)
		return uvfio_error_set(err, -EINVAL, "there is no section PROB");
	uvfio_reg_set(p->dev, 0, REG_SCRATCH, 4, aside.scratch);
	p->writes = aside.writes;
	return 0;
}

static void moving_forget(void *priv)
{
	aside.nr_forgotten++;
	aside.there = false;
}

static uint64_t moving_size(void *priv)
{
	return 8;
}

static const struct uvfio_migration_ops moving_ops = {
	.can = UVFIO_MIGRATE_P2P | UVFIO_MIGRATE_PRE_COPY,
	.save = moving_save,
	.load = moving_load,
	.commit = moving_commit,
	.forget = moving_forget,
	.size = moving_size,
};

/* ---- the client: it keeps the files that it is given ---- */

static struct vfio_migration_file *given;

static int give_migration(struct vfio_client *client, struct vfio_migration_file *file, int32_t *fd)
{
	assert_null(given);
	given = file;
	*fd = 77;
	return 0;
}

static struct vfio_migration_file *take(void)
{
	struct vfio_migration_file *file = given;

	given = NULL;
	assert_non_null(file);
	return file;
}

static struct uvfio_model moving_model;
static struct vfio_client_ops moving_client;

static void up(struct fixture *f, const char *spec)
{
	moving_model = probe_model;
	moving_model.name = "moving";
	moving_model.migration = &moving_ops;
	moving_client = client_ops;
	moving_client.give_migration = give_migration;
	memset(&aside, 0, sizeof(aside));
	fixture_machine(f);
	assert_int_equal(vfio_machine_add_model(f->machine, &moving_model), 0);
	f->tc.client.ops = &moving_client;
	fixture_add(f, spec);
	fixture_open(f);
	config_put(f, PCI_COMMAND, 2, COMMAND_ON);
}

static int feature(struct fixture *f, unsigned flags, void *payload, size_t len)
{
	struct {
		struct vfio_device_feature hdr;
		uint8_t payload[64];
	} buf = {.hdr = {.argsz = (uint32_t)(sizeof(buf.hdr) + len), .flags = flags}};
	int ret;

	assert_true(len <= sizeof(buf.payload));
	memcpy(buf.payload, payload, len);
	ret = dev_ioctl(f, VFIO_DEVICE_FEATURE, &buf);
	memcpy(payload, buf.payload, len);
	return ret;
}

static int set(struct fixture *f, uint32_t target, int32_t *fd)
{
	struct vfio_device_feature_mig_state state = {target, 1234};
	int ret = feature(f, SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &state, sizeof(state));

	assert_int_equal(state.device_state, target);
	*fd = state.data_fd;
	return ret;
}

/* A change that begins no session. */
static void go(struct fixture *f, uint32_t target)
{
	int32_t fd;

	assert_int_equal(set(f, target, &fd), 0);
	assert_int_equal(fd, -1);
}

static struct vfio_migration_file *begin(struct fixture *f, uint32_t target)
{
	int32_t fd;

	assert_int_equal(set(f, target, &fd), 0);
	assert_int_equal(fd, 77);
	return take();
}

static uint32_t get(struct fixture *f)
{
	struct vfio_device_feature_mig_state state = {99, 99};

	assert_int_equal(
		feature(f, GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &state, sizeof(state)), 0);
	assert_int_equal(state.data_fd, -1);
	return state.device_state;
}

/* ---- tests ---- */

static void test_features(void **state)
{
	const unsigned indices[] = {VFIO_DEVICE_FEATURE_MIGRATION,
				    VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
				    VFIO_DEVICE_FEATURE_MIG_DATA_SIZE};
	struct vfio_device_feature_mig_state st = {0};
	uint64_t value = 0;
	struct fixture f;

	up(&f, "moving,memory=on");
	assert_int_equal(feature(&f, GET | VFIO_DEVICE_FEATURE_MIGRATION, &value, 8), 0);
	assert_int_equal(value, 7);
	assert_int_equal(feature(&f, SET | VFIO_DEVICE_FEATURE_MIGRATION, &value, 8), -EINVAL);
	assert_int_equal(feature(&f, GET | VFIO_DEVICE_FEATURE_MIGRATION, &value, 7), -EINVAL);
	assert_int_equal(feature(&f, GET | VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, &value, 8), 0);
	assert_int_equal(value, 8 + 8192 + 1);
	assert_int_equal(feature(&f, PROBE | GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &st, 0),
			 0);
	assert_int_equal(
		feature(&f, SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &st, sizeof(st) - 1),
		-EINVAL);
	assert_int_equal(feature(&f, SET | UVFIO_DEVICE_FEATURE_MIG_PRECOPY_INFO_V2, &st, 0), 0);
	/* A door that has no files for it. */
	f.tc.client.ops = &client_ops;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(feature(&f, GET | indices[i], &value, 8), -ENOTTY);
	assert_int_equal(feature(&f, SET | UVFIO_DEVICE_FEATURE_MIG_PRECOPY_INFO_V2, &st, 0),
			 -EINVAL);
	fixture_close(&f);

	/* A model that cannot. */
	up(&f, "probe");
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(feature(&f, GET | indices[i], &value, 8), -ENOTTY);
	fixture_close(&f);
}

static void test_states(void **state)
{
	struct vfio_fault_record fault;
	unsigned quiesces;
	struct fixture f;
	uint64_t total;
	int32_t fd;

	up(&f, "moving,memory=on");
	quiesces = f.probe->quiesces;
	assert_int_equal(get(&f), RUNNING);
	bar_put(&f, 0, REG_SCRATCH, 4, 5);
	assert_true(f.probe->running);
	go(&f, RUNNING);
	assert_int_equal(set(&f, 0, &fd), -EINVAL);
	assert_int_equal(set(&f, 8, &fd), -EINVAL);
	assert_int_equal(fd, -1);

	/* Quiet, and it answers. */
	go(&f, RUNNING_P2P);
	assert_false(f.probe->running);
	assert_int_equal(f.probe->quiesces, quiesces + 1);
	assert_int_equal(bar_get(&f, 0, REG_SCRATCH, 4), 5);
	bar_put(&f, 0, REG_SCRATCH, 4, 6);
	assert_int_equal(bar_get(&f, 0, REG_SCRATCH, 4), 6);
	/* What it starts all the same is refused, and not for what its driver has done. */
	assert_int_equal(probe_command(&f, CMD_WRITE, 0x1000, 8), -EPERM);
	assert_int_equal(vfio_device_faults(f.dev, &fault, 1, &total), 1);
	assert_int_equal(fault.fault.reason, IOMMU_FAULT_QUIET);
	/* What a driver does with bus mastering does not wake it. */
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON & ~PCI_COMMAND_MASTER);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	assert_false(f.probe->running);

	/* Nobody is there. */
	go(&f, STOP);
	assert_int_equal(bar_get(&f, 0, REG_SCRATCH, 4), UINT32_MAX);
	bar_put(&f, 0, REG_SCRATCH, 4, 7);
	assert_int_equal(config_get(&f, PCI_VENDOR_ID, 2),
			 pci_func_desc(vfio_device_func(f.dev))->vendor);
	assert_int_equal(get(&f), STOP);
	go(&f, RUNNING);
	assert_true(f.probe->running);
	assert_int_equal(bar_get(&f, 0, REG_SCRATCH, 4), 6);
	fixture_close(&f);
}

/* A device that may do no DMA as it is, as after a reset: its model is told all the same. */
static void test_without_bus_master(void **state)
{
	unsigned quiesces;
	struct fixture f;

	up(&f, "moving,memory=on");
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON & ~PCI_COMMAND_MASTER);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	quiesces = f.probe->quiesces;
	go(&f, RUNNING_P2P);
	assert_int_equal(f.probe->quiesces, quiesces + 1);
	go(&f, STOP);
	assert_int_equal(f.probe->quiesces, quiesces + 1);
	go(&f, RUNNING);
	assert_false(f.probe->running);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	assert_true(f.probe->running);
	fixture_close(&f);
}

/* All that there is, in pieces of @piece bytes. */
static size_t read_all(struct vfio_migration_file *file, uint8_t *out, size_t max, size_t piece)
{
	size_t len = 0;
	ssize_t n;

	while ((n = vfio_migration_read(file, out + len, max - len < piece ? max - len : piece)) >
	       0)
		len += (size_t)n;
	assert_true(n == 0 || n == -ENOMSG);
	return len;
}

/* @with's MSI-X vectors, without eventfds: what is raised stays pending. */
static void enable_vectors(struct fixture *f)
{
	struct {
		struct vfio_irq_set set;
		int32_t fds[8];
	} irqs = {.set = {.argsz = sizeof(irqs),
			  .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			  .index = VFIO_PCI_MSIX_IRQ_INDEX,
			  .count = 8}};

	memset(irqs.fds, 0xff, sizeof(irqs.fds));
	irqs.fds[0] = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(dev_ioctl(f, VFIO_DEVICE_SET_IRQS, &irqs), 0);
	close(irqs.fds[0]);
}

static uint8_t stream[1 << 20];

static void test_a_device_moves(void **state)
{
	struct vfio_migration_file *file, *to;
	struct fixture a, b;
	size_t len;

	up(&a, "moving,memory=on");
	enable_vectors(&a);
	bar_put(&a, 0, REG_SCRATCH, 4, 0x1234);
	bar_put(&a, 2, 100, 4, 0xabcdef);
	bar_put(&a, 2, 8188, 4, 0xfedcba);
	probe_command(&a, CMD_IRQ, 0, 5);
	assert_int_equal(bar_get(&a, 0, REG_PBA, 8), 1 << 5);
	file = begin(&a, STOP_COPY);
	len = read_all(file, stream, sizeof(stream), 333);
	assert_int_equal(vfio_migration_write(file, stream, 1), -EBADF);
	vfio_migration_release(file);
	fixture_close(&a);

	up(&b, "moving,memory=on");
	enable_vectors(&b);
	bar_put(&b, 2, 4096, 4, 0x77); /* which is zero at the other end */
	to = begin(&b, RESUMING);
	for (size_t at = 0; at < len; at += 1000)
		assert_int_equal(
			vfio_migration_write(to, stream + at, len - at < 1000 ? len - at : 1000),
			len - at < 1000 ? len - at : 1000);
	assert_int_equal(vfio_migration_read(to, stream, 1), -EBADF);
	go(&b, RUNNING);
	assert_int_equal(vfio_migration_write(to, stream, 1), -ENODEV);
	vfio_migration_release(to);
	assert_int_equal(bar_get(&b, 0, REG_SCRATCH, 4), 0x1234);
	assert_int_equal(bar_get(&b, 2, 100, 4), 0xabcdef);
	assert_int_equal(bar_get(&b, 2, 8188, 4), 0xfedcba);
	assert_int_equal(bar_get(&b, 2, 4096, 4), 0);
	assert_int_equal(bar_get(&b, 0, REG_PBA, 8), 1 << 5);
	assert_true(b.probe->running);
	fixture_close(&b);
}

static void test_pre_copy(void **state)
{
	struct uvfio_precopy_info info = {.argsz = sizeof(info), .flags = 0x55};
	struct vfio_migration_file *file, *to;
	size_t len, first;
	struct fixture a, b;

	up(&a, "moving,memory=on");
	bar_put(&a, 2, 0, 4, 1);
	bar_put(&a, 2, 4096, 4, 2);
	file = begin(&a, PRE_COPY);
	assert_true(a.probe->running);
	assert_int_equal(
		vfio_migration_ioctl(file, a.client, UVFIO_MIG_GET_PRECOPY_INFO, (uintptr_t)&info),
		0);
	assert_true(info.initial_bytes >= 8192);
	assert_int_equal(info.flags, 0x55);
	info.argsz--;
	assert_int_equal(
		vfio_migration_ioctl(file, a.client, UVFIO_MIG_GET_PRECOPY_INFO, (uintptr_t)&info),
		-EINVAL);
	assert_int_equal(
		vfio_migration_ioctl(file, a.client, VFIO_DEVICE_GET_INFO, (uintptr_t)&info),
		-ENOTTY);
	first = len = read_all(file, stream, sizeof(stream), 4096);
	assert_true(len > 8192);
	assert_int_equal(vfio_migration_read(file, stream + len, 100), -ENOMSG);
	info.argsz = sizeof(info);
	assert_int_equal(
		vfio_migration_ioctl(file, a.client, UVFIO_MIG_GET_PRECOPY_INFO, (uintptr_t)&info),
		0);
	assert_int_equal(info.initial_bytes, 0);
	/* It changes, and only that goes again: once it has stopped, the rest. */
	bar_put(&a, 2, 4100, 4, 3);
	bar_put(&a, 0, REG_SCRATCH, 4, 4);
	go(&a, PRE_COPY_P2P);
	go(&a, STOP_COPY);
	assert_int_equal(
		vfio_migration_ioctl(file, a.client, UVFIO_MIG_GET_PRECOPY_INFO, (uintptr_t)&info),
		-EINVAL);
	len += read_all(file, stream + len, sizeof(stream) - len, 4096);
	assert_true(len - first > 4096 && len - first < 4096 + 500);
	vfio_migration_release(file);

	up(&b, "moving,memory=on");
	to = begin(&b, RESUMING);
	assert_int_equal(vfio_migration_write(to, stream, len), len);
	go(&b, RUNNING_P2P);
	vfio_migration_release(to);
	assert_int_equal(bar_get(&b, 2, 0, 4), 1);
	assert_int_equal(bar_get(&b, 2, 4096, 8), 2 | 3ull << 32);
	assert_int_equal(bar_get(&b, 0, REG_SCRATCH, 4), 4);
	fixture_close(&b);
	fixture_close(&a);
}

static void test_what_ends_a_session(void **state)
{
	struct vfio_migration_file *file;
	struct fixture f;
	int32_t fd;

	/* A reset, from anywhere. */
	up(&f, "moving,memory=on");
	file = begin(&f, RESUMING);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(get(&f), RUNNING);
	assert_true(f.probe->running);
	assert_int_equal(aside.nr_forgotten, 1);
	assert_int_equal(vfio_migration_write(file, "x", 1), -ENODEV);
	vfio_migration_release(file);

	/* Leaving without all of it is refused, and a reset helps. */
	file = begin(&f, RESUMING);
	assert_int_equal(set(&f, RUNNING, &fd), -EINVAL);
	assert_int_equal(get(&f), RESUMING);
	assert_int_equal(vfio_migration_write(file,
					      "no stream of a device's state, by any means, "
					      "and longer than a header",
					      68),
			 -EINVAL);
	vfio_migration_release(file);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);

	/* The last close; the file may stay. */
	file = begin(&f, PRE_COPY);
	vfio_device_release(f.df);
	assert_int_equal(vfio_migration_read(file, stream, 10), -ENODEV);
	assert_true(vfio_migration_readable(file));
	assert_int_equal(vfio_group_get_device(f.gf, f.client, (uintptr_t) "0000:01:00.0", &f.df),
			 0);
	assert_int_equal(get(&f), RUNNING);
	assert_int_equal(vfio_migration_read(file, stream, 10), -ENODEV);
	vfio_migration_release(file);
	fixture_close(&f);
}

/* Memory on both sides of a register, in one page: each part is seen by itself. */
static void test_parts_of_a_page(void **state)
{
	struct vfio_migration_file *file;
	struct fixture f;
	ssize_t n, len = 0;

	up(&f, "moving,mixed=on");
	bar_put(&f, 2, MIXED_REGISTER - 8, 4, 0x1111);
	bar_put(&f, 2, MIXED_REGISTER + 8, 4, 0x2222);
	file = begin(&f, PRE_COPY);
	while ((n = vfio_migration_read(file, stream + len, sizeof(stream) - (size_t)len)) > 0)
		len += n;
	assert_int_equal(n, -ENOMSG);
	assert_false(vfio_migration_readable(file));
	bar_put(&f, 2, MIXED_REGISTER + 8, 4, 0x3333);
	assert_true(vfio_migration_readable(file));
	go(&f, STOP_COPY);
	while ((n = vfio_migration_read(file, stream + len, sizeof(stream) - (size_t)len)) > 0)
		len += n;
	assert_int_equal(n, 0);
	vfio_migration_release(file);
	go(&f, RUNNING);
	bar_put(&f, 2, MIXED_REGISTER - 8, 4, 0);
	bar_put(&f, 2, MIXED_REGISTER + 8, 4, 0);
	file = begin(&f, RESUMING);
	assert_int_equal(vfio_migration_write(file, stream, (size_t)len), len);
	go(&f, RUNNING);
	assert_int_equal(bar_get(&f, 2, MIXED_REGISTER - 8, 4), 0x1111);
	assert_int_equal(bar_get(&f, 2, MIXED_REGISTER + 8, 4), 0x3333);
	vfio_migration_release(file);
	fixture_close(&f);
}

static void removed(void *arg, const char *name)
{
	sem_post(arg);
}

/* A file that somebody keeps holds nobody up who takes the device away. */
static void test_device_leaves(void **state)
{
	struct vfio_migration_file *file, *other;
	struct uvfio_error err;
	struct fixture f;
	sem_t gone;

	sem_init(&gone, 0, 0);
	up(&f, "moving,memory=on");
	other = begin(&f, STOP_COPY);
	go(&f, RUNNING);
	vfio_migration_release(other);
	other = begin(&f, STOP_COPY);
	go(&f, RUNNING);
	file = begin(&f, STOP_COPY);
	assert_true(vfio_migration_saves(file));
	vfio_device_release(f.df);
	f.df = NULL;
	assert_int_equal(
		vfio_machine_remove_device(f.machine, "0000:01:00.0", 0, removed, &gone, &err), 0);
	assert_int_equal(sem_wait(&gone), 0);
	assert_int_equal(vfio_migration_read(file, stream, 10), -ENODEV);
	assert_int_equal(vfio_migration_read(other, stream, 10), -ENODEV);
	assert_int_equal(vfio_migration_write(file, stream, 10), -ENODEV);
	assert_true(vfio_migration_readable(file));
	assert_true(vfio_migration_saves(file));
	vfio_migration_release(other);
	vfio_migration_release(file);
	sem_destroy(&gone);
	fixture_close(&f);
}

/* One that is pulled out in a session is away from its user, who has it open still. */
static void test_pulled_out(void **state)
{
	struct vfio_migration_file *file;
	struct uvfio_error err;
	struct fixture f;
	int32_t fd;
	sem_t gone;
	ssize_t n;

	sem_init(&gone, 0, 0);
	up(&f, "moving,memory=on");
	file = begin(&f, PRE_COPY);
	assert_int_equal(vfio_migration_read(file, stream, 10), 10);
	assert_int_equal(vfio_machine_remove_device(f.machine, "0000:01:00.0", VFIO_REMOVE_SURPRISE,
						    removed, &gone, &err),
			 0);
	do {
		n = vfio_migration_read(file, stream, 1);
		sched_yield();
	} while (n == 1 || n == -ENOMSG);
	assert_int_equal(vfio_migration_read(file, stream, 1), -ENODEV);
	assert_int_equal(set(&f, RUNNING, &fd), -EIO);
	vfio_device_release(f.df);
	f.df = NULL;
	assert_int_equal(sem_wait(&gone), 0);
	assert_int_equal(vfio_migration_read(file, stream, 1), -ENODEV);
	vfio_migration_release(file);
	sem_destroy(&gone);
	fixture_close(&f);
}

static void test_memory_of_another_device(void **state)
{
	struct vfio_migration_file *file, *to;
	struct fixture a, b;
	size_t len;

	up(&a, "moving,memory=on");
	bar_put(&a, 2, 0, 4, 1);
	file = begin(&a, STOP_COPY);
	len = read_all(file, stream, sizeof(stream), 100000);
	vfio_migration_release(file);
	fixture_close(&a);

	up(&b, "moving"); /* it has no BAR 2 */
	to = begin(&b, RESUMING);
	assert_int_equal(vfio_migration_write(to, stream, len), -EINVAL);
	vfio_migration_release(to);
	fixture_close(&b);
	assert_int_equal(aside.nr_forgotten, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_without_bus_master),
		cmocka_unit_test(test_a_device_moves),
		cmocka_unit_test(test_pre_copy),
		cmocka_unit_test(test_what_ends_a_session),
		cmocka_unit_test(test_parts_of_a_page),
		cmocka_unit_test(test_device_leaves),
		cmocka_unit_test(test_pulled_out),
		cmocka_unit_test(test_memory_of_another_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
