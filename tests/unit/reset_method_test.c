/* SPDX-License-Identifier: BSD-3-Clause */
/* A.4, A.5: by which methods a function can be reset alone, and what there is without any. */
#include "vfio/host.h"
#include "vfio_fixture.h"

static void test_methods(void **state)
{
	static const struct {
		const char *specs[2]; /* the second one is a neighbour */
		unsigned methods;
		bool can; /* be reset alone */
	} rows[] = {
		{{"probe,addr=01:00.0"}, VFIO_RESET_FLR | VFIO_RESET_PM | VFIO_RESET_BUS, true},
		{{"probe,addr=01:00.0,shape=af"},
		 VFIO_RESET_AF_FLR | VFIO_RESET_PM | VFIO_RESET_BUS,
		 true},
		/* D3 keeps the state: no way to reset it. */
		{{"probe,addr=01:00.0,shape=no-soft-reset"}, VFIO_RESET_FLR | VFIO_RESET_BUS, true},
		{{"probe,addr=01:00.0,noreset=on"}, VFIO_RESET_BUS, true},
		/* Not alone on its bus. */
		{{"probe,addr=01:00.0", "probe,addr=01:01.0"},
		 VFIO_RESET_FLR | VFIO_RESET_PM,
		 true},
		{{"probe,addr=01:00.0,noreset=on", "probe,addr=01:01.0"}, 0, false},
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vfio_device_info info = {.argsz = sizeof(info)};
		struct fixture f;

		fixture_machine(&f);
		for (unsigned j = 0; j < 2 && rows[i].specs[j]; j++)
			fixture_add(&f, rows[i].specs[j]);
		fixture_open(&f);
		assert_int_equal(vfio_device_reset_methods(f.dev), rows[i].methods);
		assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_INFO, &info), 0);
		assert_int_equal(info.flags & VFIO_DEVICE_FLAGS_RESET,
				 rows[i].can ? VFIO_DEVICE_FLAGS_RESET : 0);
		assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), rows[i].can ? 0 : -EINVAL);
		fixture_close(&f);
	}
}

/* The host takes the methods of an open device away, and gives them back. */
static void test_taken_away(void **state)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	struct fixture f;
	unsigned before;

	fixture_up(&f, "probe");
	before = f.probe->resets[UVFIO_RESET_FUNCTION];
	vfio_device_allow_reset(f.dev, false);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), -ENOTTY);
	assert_int_equal(f.probe->resets[UVFIO_RESET_FUNCTION], before);
	/* What was found at open is what GET_INFO tells. */
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_INFO, &info), 0);
	assert_true(info.flags & VFIO_DEVICE_FLAGS_RESET);
	vfio_device_allow_reset(f.dev, true);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(f.probe->resets[UVFIO_RESET_FUNCTION], before + 1);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_methods),
		cmocka_unit_test(test_taken_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
