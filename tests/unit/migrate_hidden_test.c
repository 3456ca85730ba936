/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a device is moved by is not in what its user reaches by registers: a device that can be
 * moved shows the same regions and the same config space as one that cannot, and nothing that is
 * written there changes the state of its migration.  All models.
 */
#include "devices/ioat/ioat_model.h"
#include "devices/nvme/nvme_model.h"
#include "migrate_fixture.h"

static const char *const specs[] = {
	"pcitest", "pcitest,pcie=off", "ioat", "ioat,version=3.2,channels=4", "nvme,memory=16M",
};

static void up(struct fixture *f, struct user *u, const char *spec, const char *key)
{
	char text[128];

	sriov_up(f, NULL);
	assert_int_equal(vfio_machine_add_model(f->machine, &ioat_model), 0);
	assert_int_equal(vfio_machine_add_model(f->machine, &nvme_model), 0);
	snprintf(text, sizeof(text), "%s%s", spec, key);
	fixture_add(f, text);
	migrate_client(f);
	assert_int_equal(user_open(f, u, PF_NAME, NULL), 0);
}

/* Everything that GET_REGION_INFO tells, and config space. */
struct seen {
	struct vfio_device_info info;
	struct vfio_region_info regions[16];
	uint8_t config[4096];
};

static void look(struct fixture *f, struct user *u, struct seen *s)
{
	uint64_t config = VFIO_REGION_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX);

	memset(s, 0, sizeof(*s));
	s->info.argsz = sizeof(s->info);
	assert_int_equal(user_ioctl(f, u, VFIO_DEVICE_GET_INFO, &s->info), 0);
	assert_true(s->info.num_regions <= 16);
	for (unsigned i = 0; i < s->info.num_regions; i++) {
		s->regions[i] =
			(struct vfio_region_info){.argsz = sizeof(s->regions[i]), .index = i};
		user_ioctl(f, u, VFIO_DEVICE_GET_REGION_INFO, &s->regions[i]);
	}
	for (unsigned at = 0; at < s->regions[VFIO_PCI_CONFIG_REGION_INDEX].size; at += 4)
		assert_int_equal(vfio_device_read(u->df, config + at, s->config + at, 4), 4);
}

static void test_same_regions(void **state)
{
	for (unsigned i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
		struct seen can, cannot;
		struct fixture f;
		struct user u;

		up(&f, &u, specs[i], "");
		assert_int_equal(user_state(&f, &u), RUNNING);
		look(&f, &u, &can);
		user_close(&u);
		fixture_close(&f);
		up(&f, &u, specs[i], ",migration=off");
		look(&f, &u, &cannot);
		user_close(&u);
		fixture_close(&f);
		assert_memory_equal(&can, &cannot, sizeof(can));
	}
}

static uint64_t seed = 88172645463325252ull;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* Every register there is, with anything; and what is not there. */
static void scribble(struct user *u, unsigned region, uint64_t size)
{
	static const unsigned sizes[] = {1, 2, 4, 8};

	for (uint64_t at = 0; at < size && at < 65536; at += 4) {
		unsigned len = sizes[rnd() % 4];
		uint64_t value = rnd();

		vfio_device_write(u->df, VFIO_REGION_OFFSET(region) + at, &value, len);
		vfio_device_read(u->df, VFIO_REGION_OFFSET(region) + at, &value, len);
	}
}

static void test_nothing_written_moves_it(void **state)
{
	for (unsigned i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
		struct fixture f;
		struct seen s;
		struct user u;

		up(&f, &u, specs[i], "");
		look(&f, &u, &s);
		user_put(&u, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, 2,
			 PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
		for (unsigned bar = 0; bar < 6; bar++)
			scribble(&u, bar, s.regions[bar].size);
		assert_int_equal(user_state(&f, &u), RUNNING);
		scribble(&u, VFIO_PCI_CONFIG_REGION_INDEX,
			 s.regions[VFIO_PCI_CONFIG_REGION_INDEX].size);
		scribble(&u, VFIO_PCI_ROM_REGION_INDEX, 4096);
		scribble(&u, VFIO_PCI_NUM_REGIONS, 4096); /* where there is none */
		assert_int_equal(user_state(&f, &u), RUNNING);
		/* And what is not running stays so. */
		assert_int_equal(user_ioctl(&f, &u, VFIO_DEVICE_RESET, NULL), 0);
		assert_int_equal(user_set(&f, &u, STOP), 0);
		for (unsigned bar = 0; bar < 6; bar++)
			scribble(&u, bar, s.regions[bar].size);
		assert_int_equal(user_state(&f, &u), STOP);
		user_close(&u);
		fixture_close(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_regions),
		cmocka_unit_test(test_nothing_written_moves_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
