/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Streams of older versions, kept in tests/migration/streams: each is taken by the model that there
 * is now (docs/migration-stream.md).  They are never made anew: a model that gives another stream
 * gets one more file.
 *
 *	UVFIO_MAKE_STREAM=NAME test-migrate_streams     writes that one, if it is not there
 */
#include "vfio_fixture.h"
#include "devices/models.h"
#include "vfio/vfio_uapi.h"

enum { STOP = 1, RUNNING, STOP_COPY, RESUMING };

#define MEMORY_WORD 0x5afe57a7eu

static const struct stream_file {
	const char *name, *spec;
	unsigned memory; /* a BAR of memory that has MEMORY_WORD at 100; 0: none */
} files[] = {
	{"pcitest-1", "pcitest,memory=4K", 2},
	{"pcitest-2", "pcitest,memory=4K,vfs=2", 2},
	{"ioat-1", "ioat,channels=2", 0},
	{"nvme-1", "nvme,memory=64K", 0},
};

static struct vfio_migration_file *given;

static int give_migration(struct vfio_client *client, struct vfio_migration_file *file, int32_t *fd)
{
	given = file;
	*fd = 77;
	return 0;
}

static struct vfio_client_ops ops;

static void up(struct fixture *f, const char *spec)
{
	ops = client_ops;
	ops.give_migration = give_migration;
	fixture_machine(f);
	for (unsigned i = 0; device_models[i]; i++)
		assert_int_equal(vfio_machine_add_model(f->machine, device_models[i]), 0);
	f->tc.client.ops = &ops;
	fixture_add(f, spec);
	fixture_open(f);
	config_put(f, PCI_COMMAND, 2,
		   PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
}

static int set(struct fixture *f, uint32_t target)
{
	struct {
		struct vfio_device_feature hdr;
		struct vfio_device_feature_mig_state state;
	} buf = {
		.hdr = {sizeof(buf),
			VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE},
		.state = {target, -1},
	};

	return dev_ioctl(f, VFIO_DEVICE_FEATURE, &buf);
}

static void end(void)
{
	vfio_migration_release(given);
	given = NULL;
}

static uint8_t bytes[1 << 20];

static char *path_of(const struct stream_file *file, char path[4096])
{
	snprintf(path, 4096, "%s/%s.stream", getenv("UVFIO_STREAMS"), file->name);
	return path;
}

static void make(const struct stream_file *file)
{
	struct fixture f;
	char path[4096];
	size_t len = 0;
	ssize_t n;
	int fd;

	up(&f, file->spec);
	if (file->memory)
		bar_put(&f, file->memory, 100, 8, MEMORY_WORD);
	assert_int_equal(set(&f, STOP_COPY), 0);
	while ((n = vfio_migration_read(given, bytes + len, sizeof(bytes) - len)) > 0)
		len += (size_t)n;
	assert_int_equal(n, 0);
	end();
	fixture_close(&f);
	fd = open(path_of(file, path), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	close(fd);
}

static void test_taken(void **state)
{
	for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char path[4096];
		struct fixture f;
		ssize_t len;
		int fd;

		fd = open(path_of(&files[i], path), O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			fail_msg("%s: %s", path, strerror(errno));
		len = read(fd, bytes, sizeof(bytes));
		close(fd);
		assert_in_range(len, 64, sizeof(bytes) - 1);
		up(&f, files[i].spec);
		assert_int_equal(set(&f, RESUMING), 0);
		if (vfio_migration_write(given, bytes, (size_t)len) != len || set(&f, RUNNING))
			fail_msg("%s is not taken any more", files[i].name);
		end();
		if (files[i].memory)
			assert_int_equal(bar_get(&f, files[i].memory, 100, 8), MEMORY_WORD);
		fixture_close(&f);
	}
}

int main(void)
{
	const char *name = getenv("UVFIO_MAKE_STREAM");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_taken),
	};

	if (!getenv("UVFIO_STREAMS")) {
		fprintf(stderr, "UVFIO_STREAMS is to name the folder of the streams\n");
		return 1;
	}
	guarded_init();
	for (unsigned i = 0; name && i < sizeof(files) / sizeof(files[0]); i++)
		if (!strcmp(files[i].name, name))
			make(&files[i]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
