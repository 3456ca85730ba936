/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `--mmio polled` and migration: what a client has stored into a page before it has the device
 * stopped reaches the device first, though nobody has looked at the page since (E.2).
 */
#include <sys/mman.h>
#include "migrate_fixture.h"

#define ROUNDS 50u /* the poller may have found it by itself */

static volatile uint32_t *map_doorbells(struct user *u)
{
	const off_t at = (off_t)VFIO_REGION_OFFSET(PCITEST_BAR_REGS) + PCITEST_DOORBELLS;
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, vfio_device_view_fd(u->dev),
		       at);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static void set(struct fixture *f, struct user *u, uint32_t state)
{
	assert_int_equal(user_set(f, u, state), 0);
	if (given)
		vfio_migration_release(take());
}

/* Ring all, of which none need be one that is looked at often; then @state at once. */
static void rings(struct fixture *f, struct user *u, volatile uint32_t *doorbells, uint32_t state)
{
	for (unsigned round = 1; round <= ROUNDS; round++) {
		for (unsigned i = 0; i < PCITEST_NR_DOORBELLS; i++)
			doorbells[i] = state << 16 | round << 8 | i;
		set(f, u, state); /* from here on it does not answer, and its page is ones */
		set(f, u, RUNNING);
		for (unsigned i = 0; i < PCITEST_NR_DOORBELLS; i++)
			assert_int_equal(
				user_get(u, PCITEST_BAR_REGS, PCITEST_LAST_DOORBELL + 4 * i, 4),
				state << 16 | round << 8 | i);
	}
}

static void test_before_stop(void **state)
{
	static const uint32_t states[] = {STOP, STOP_COPY};
	volatile uint32_t *doorbells;
	struct fixture f;
	struct user u;

	sriov_up(&f, "pcitest");
	migrate_client(&f);
	assert_int_equal(user_open(&f, &u, PF_NAME, NULL), 0);
	assert_int_equal(vfio_device_file_set_mmio(u.df, VFIO_MMIO_POLLED), 0);
	user_put(&u, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	doorbells = map_doorbells(&u);
	for (unsigned i = 0; i < 2; i++)
		rings(&f, &u, doorbells, states[i]);
	munmap((void *)(uintptr_t)doorbells, 4096);
	user_close(&u);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_before_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
