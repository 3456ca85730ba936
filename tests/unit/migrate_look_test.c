/* SPDX-License-Identifier: BSD-3-Clause */
/* What can be seen of a device's migration from outside (observe.h), without waiting for it. */
#include "migrate_fixture.h"

static struct vfio_migration_state look(struct user *u)
{
	struct vfio_migration_state s;

	vfio_device_migration_state(u->dev, &s);
	return s;
}

static void up(struct fixture *f, struct user *u, const char *spec)
{
	sriov_up(f, spec);
	migrate_client(f);
	assert_int_equal(user_open(f, u, PF_NAME, NULL), 0);
}

static int probe(struct fixture *f, struct user *u, unsigned index, unsigned op)
{
	struct vfio_device_feature head = {sizeof(head), VFIO_DEVICE_FEATURE_PROBE | op | index};

	return user_ioctl(f, u, VFIO_DEVICE_FEATURE, &head);
}

static void test_asked(void **state)
{
	struct fixture f;
	struct user u;

	up(&f, &u, "pcitest");
	assert_false(look(&u).asked);
	/* Other features are no question about it. */
	probe(&f, &u, VFIO_DEVICE_FEATURE_LOW_POWER_EXIT, VFIO_DEVICE_FEATURE_SET);
	assert_false(look(&u).asked);
	assert_int_equal(probe(&f, &u, VFIO_DEVICE_FEATURE_MIGRATION, VFIO_DEVICE_FEATURE_GET), 0);
	assert_true(look(&u).asked);
	assert_int_equal(user_ioctl(&f, &u, VFIO_DEVICE_RESET, NULL), 0);
	assert_true(look(&u).asked);
	user_close(&u);
	/* The next user has not asked. */
	assert_int_equal(user_open(&f, &u, PF_NAME, NULL), 0);
	assert_false(look(&u).asked);
	user_close(&u);
	fixture_close(&f);
}

static void test_can(void **state)
{
	static const struct {
		const char *spec;
		bool p2p, pre_copy, quiet;
	} rows[] = {
		{"pcitest", true, true, false},
		{"pcitest,migration-can=p2p", true, false, false},
		{"pcitest,migration-can=pre-copy", false, true, false},
		{"pcitest,migration-can=stop-copy", false, false, false},
		{"pcitest,quiet-mmio=on", false, true, true},
	};
	struct vfio_migration_state s;
	struct fixture f;
	struct user u;

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		up(&f, &u, rows[i].spec);
		s = look(&u);
		assert_string_equal(s.interface, "v2");
		assert_string_equal(s.state, "RUNNING");
		assert_string_equal(s.place, "here");
		assert_int_equal(s.p2p, rows[i].p2p);
		assert_int_equal(s.pre_copy, rows[i].pre_copy);
		assert_int_equal(s.quiet_mmio, rows[i].quiet);
		user_close(&u);
		fixture_close(&f);
	}
	/* The region; and none at all. */
	up(&f, &u, "pcitest,migration=region");
	assert_string_equal(look(&u).interface, "region");
	assert_false(look(&u).p2p);
	assert_false(look(&u).asked);
	assert_int_equal(user_get(&u, VFIO_PCI_NUM_REGIONS, 0, 4), 1);
	assert_true(look(&u).asked);
	user_close(&u);
	fixture_close(&f);
	up(&f, &u, "pcitest,migration=off");
	assert_string_equal(look(&u).interface, "off");
	user_close(&u);
	fixture_close(&f);
	/* A model that cannot be moved. */
	fixture_up(&f, "probe");
	vfio_device_migration_state(f.dev, &s);
	assert_string_equal(s.interface, "off");
	assert_null(s.state);
	fixture_close(&f);
}

static void test_states(void **state)
{
	static const struct {
		uint32_t target;
		const char *name;
	} ways[] = {
		{RUNNING_P2P, "RUNNING_P2P"},
		{STOP, "STOP"},
		{RESUMING, "RESUMING"},
		{RUNNING, "RESUMING"}, /* nothing has come */
	};
	struct fixture f;
	struct user u;

	up(&f, &u, "pcitest");
	for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		user_set(&f, &u, ways[i].target);
		if (given)
			vfio_migration_release(take());
		assert_string_equal(look(&u).state, ways[i].name);
		assert_false(look(&u).leaves);
	}
	assert_int_equal(user_ioctl(&f, &u, VFIO_DEVICE_RESET, NULL), 0);
	assert_string_equal(look(&u).state, "RUNNING");
	user_close(&u);
	fixture_close(&f);
}

static uint8_t bytes[65536];

static void test_bytes_left(void **state)
{
	struct vfio_migration_file *file;
	struct fixture f;
	struct user u;
	uint64_t before;

	up(&f, &u, "pcitest,memory=1M");
	user_put(&u, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	user_put(&u, 2, 0, 8, 1);
	assert_int_equal(user_set(&f, &u, PRE_COPY), 0);
	file = take();
	assert_true(look(&u).leaves);
	before = look(&u).initial;
	assert_true(before >= 1 << 20);
	while (vfio_migration_read(file, bytes, sizeof(bytes)) > 0)
		;
	assert_int_equal(look(&u).initial, 0);
	assert_int_equal(user_set(&f, &u, STOP_COPY), 0);
	assert_false(look(&u).leaves);
	vfio_migration_release(file);
	user_close(&u);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_asked),
		cmocka_unit_test(test_can),
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_bytes_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
