/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VFs come and go while others use them and their PF: opens, DMA, interrupts, resets of VFs and of
 * the PF, closing in the middle of everything.  What must hold: nothing stands still, each open VF
 * is one that works, and in the end there is what was asked for last.
 */
#include "sriov_fixture.h"

#include <sched.h>

#define VFS    6u
#define USERS  4u
#define ROUNDS 24u

struct stress {
	struct fixture f;
	struct vfio_device *pf;
	atomic_bool stop;
	atomic_uint opened, moved, resets;
};

/* Its own memory, since the users' threads run at the same time. */
static bool move(struct stress *s, struct user *u)
{
	struct vfio_iommu_type1_dma_map map = {.argsz = sizeof(map),
					       .flags = VFIO_DMA_MAP_FLAG_READ |
							VFIO_DMA_MAP_FLAG_WRITE,
					       .vaddr = (uintptr_t)s->f.tc.mem,
					       .iova = 0x10000,
					       .size = 0x10000};
	uint32_t command = PCITEST_CMD_READ, length = 4096;
	uint64_t address = 0x10000, status = 0;
	uint16_t on = PCI_COMMAND_MASTER;

	if (vfio_container_ioctl(u->container, s->f.client, VFIO_IOMMU_MAP_DMA, (uintptr_t)&map))
		return false;
	vfio_device_write(u->df, VFIO_REGION_OFFSET(7) + PCI_COMMAND, &on, 2);
	vfio_device_write(u->df, VFIO_REGION_OFFSET(0) + PCITEST_DMA_ADDRESS, &address, 8);
	vfio_device_write(u->df, VFIO_REGION_OFFSET(0) + PCITEST_DMA_LENGTH, &length, 4);
	vfio_device_write(u->df, VFIO_REGION_OFFSET(0) + PCITEST_DMA_COMMAND, &command, 4);
	vfio_device_read(u->df, VFIO_REGION_OFFSET(0) + PCITEST_DMA_STATUS, &status, 4);
	return status == PCITEST_DONE;
}

static void *user_thread(void *arg)
{
	struct stress *s = arg;
	unsigned seed = (unsigned)pthread_self();
	uint32_t number;
	struct user u;
	char name[16];

	while (!atomic_load(&s->stop)) {
		unsigned index = (unsigned)rand_r(&seed) % VFS;

		snprintf(name, sizeof(name), "0000:01:00.%u", index + 1);
		if (user_open(&s->f, &u, name, NULL)) {
			sched_yield();
			continue;
		}
		atomic_fetch_add(&s->opened, 1);
		number = (uint32_t)user_get(&u, 0, PCITEST_VF_NUMBER, 4);
		/* While its PF is reset, or pulled out, nobody answers. */
		if (number != index && number != UINT32_MAX)
			fail_msg("%s says that it is another one", name);
		for (unsigned i = 0; i < 4; i++) {
			if (move(s, &u))
				atomic_fetch_add(&s->moved, 1);
			if (!user_ioctl(&s->f, &u, VFIO_DEVICE_RESET, NULL))
				atomic_fetch_add(&s->resets, 1);
		}
		user_close(&u);
	}
	return NULL;
}

/* The host resets the PF, and through it all VFs. */
static void *reset_thread(void *arg)
{
	struct stress *s = arg;

	while (!atomic_load(&s->stop)) {
		assert_int_equal(vfio_device_host_reset(s->pf), 0);
		sched_yield();
	}
	return NULL;
}

/* And looks at what there is. */
static void *look_thread(void *arg)
{
	struct stress *s = arg;

	while (!atomic_load(&s->stop)) {
		struct vfio_device **devs;
		unsigned n = vfio_machine_get_devices(s->f.machine, &devs);

		for (unsigned i = 0; i < n; i++) {
			struct vfio_device *pf = vfio_device_physfn(devs[i]);

			if (pf && pf != s->pf)
				fail_msg("another PF");
		}
		vfio_devices_put(devs, n);
		for (unsigned i = 0; i < VFS; i++) {
			struct vfio_device *vf = vfio_device_get_vf(s->pf, i);

			if (!vf)
				continue;
			assert_int_equal(vfio_device_vf_index(vf), i);
			vfio_device_put(vf);
		}
		sched_yield();
	}
	return NULL;
}

static void test_come_and_go(void **state)
{
	static void *(*const others[])(void *) = {reset_thread, look_thread};
	pthread_t threads[USERS + 2];
	static struct stress s;
	unsigned before;

	sriov_up(&s.f, "pcitest,vfs=6,driver=pci-pf-stub");
	s.pf = get(&s.f, PF_NAME);
	for (unsigned i = 0; i < USERS + 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL,
						i < USERS ? user_thread : others[i - USERS], &s),
				 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		assert_int_equal(set_numvfs(s.pf, 1 + round % VFS), 0);
		/* Until somebody has used one; in the last one, for what is to be seen at all. */
		before = atomic_load(&s.opened);
		while (atomic_load(&s.opened) < before + 2 ||
		       (round == ROUNDS - 1 && (!atomic_load(&s.moved) || !atomic_load(&s.resets))))
			sched_yield();
		assert_int_equal(set_numvfs(s.pf, 0), 0);
	}
	atomic_store(&s.stop, true);
	for (unsigned i = 0; i < USERS + 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(vfio_machine_devices(s.f.machine, NULL, 0), 1);
	vfio_device_put(s.pf);
	fixture_close(&s.f);
}

static void removed(void *arg, const char *name)
{
	sem_post(arg);
}

/* The PF is pulled out again and again, in the middle of all that. */
static void test_pulled_out(void **state)
{
	pthread_t threads[USERS];
	struct uvfio_error err;
	static struct stress s;
	sem_t gone;

	sem_init(&gone, 0, 0);
	sriov_up(&s.f, NULL);
	for (unsigned i = 0; i < USERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, user_thread, &s), 0);
	for (unsigned round = 0; round < ROUNDS / 2; round++) {
		unsigned before = atomic_load(&s.opened);

		fixture_add(&s.f, "pcitest,vfs=6,numvfs=6,driver=pci-pf-stub,addr=0000:01:00.0");
		while (atomic_load(&s.opened) < before + 2)
			sched_yield();
		assert_int_equal(vfio_machine_remove_device(s.f.machine, PF_NAME,
							    round & 1 ? VFIO_REMOVE_SURPRISE
								      : VFIO_REMOVE_WAIT,
							    removed, &gone, &err),
				 0);
		while (sem_wait(&gone))
			;
	}
	atomic_store(&s.stop, true);
	for (unsigned i = 0; i < USERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(vfio_machine_devices(s.f.machine, NULL, 0), 0);
	sem_destroy(&gone);
	fixture_close(&s.f);
}

/* Many at once want to change it: each is answered, and what is there is what one of them wanted.
 */
static void *write_thread(void *arg)
{
	struct stress *s = arg;

	for (unsigned i = 0; i < 20; i++) {
		int ret = set_numvfs(s->pf, i % 3);

		if (ret && ret != -EBUSY)
			fail_msg("numvfs: %s", strerror(-ret));
	}
	return NULL;
}

static void test_writers(void **state)
{
	pthread_t threads[USERS];
	static struct stress s;

	sriov_up(&s.f, "pcitest,vfs=6,driver=pci-pf-stub");
	s.pf = get(&s.f, PF_NAME);
	for (unsigned i = 0; i < USERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_thread, &s), 0);
	for (unsigned i = 0; i < USERS; i++)
		pthread_join(threads[i], NULL);
	assert_true(vfio_device_num_vfs(s.pf) < 3);
	assert_int_equal(vfio_machine_devices(s.f.machine, NULL, 0), 1 + vfio_device_num_vfs(s.pf));
	vfio_device_put(s.pf);
	/* The machine ends with those that there are. */
	fixture_close(&s.f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_come_and_go),
		cmocka_unit_test(test_pulled_out),
		cmocka_unit_test(test_writers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
