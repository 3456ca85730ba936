/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA spaces: two vfio-user devices that see one memory, servers that refuse, die and come back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include <uvfio/driver.h>

#include "driver_server.h"
#include "guarded.h"

static struct server servers[2];
static char names[2][128];
static struct uvfio_dma_space *space;
static struct uvfio_pci *devs[2];

static int setup(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		server_init(&servers[i]);
		snprintf(names[i], sizeof(names[i]), "unix:%s", servers[i].path);
	}
	return uvfio_dma_space_new(&space, NULL);
}

static int teardown(void **state)
{
	for (unsigned i = 0; i < 2; i++)
		server_fini(&servers[i]);
	return 0;
}

static void open_one(unsigned i, const char *options)
{
	struct uvfio_error err = {""};

	if (uvfio_pci_open_in(space, names[i], options, &devs[i], &err))
		fail_msg("%s", err.msg);
}

static void open_both(void)
{
	for (unsigned i = 0; i < 2; i++) {
		server_start(&servers[i]);
		open_one(i, NULL);
	}
}

static void close_both(void)
{
	uvfio_dma_space_free(space);
	for (unsigned i = 0; i < 2; i++)
		uvfio_pci_close(devs[i]);
}

static unsigned nr_maps(unsigned i)
{
	unsigned n;

	pthread_mutex_lock(&servers[i].lock);
	n = servers[i].nr_maps;
	pthread_mutex_unlock(&servers[i].lock);
	return n;
}

static bool has(unsigned i, uint64_t iova, uint64_t size)
{
	bool found = false;

	pthread_mutex_lock(&servers[i].lock);
	for (unsigned m = 0; m < servers[i].nr_maps; m++)
		found |= servers[i].maps[m].address == iova && servers[i].maps[m].size == size;
	pthread_mutex_unlock(&servers[i].lock);
	return found;
}

/* The device inverts what is at @iova to the 64 bytes behind it. */
static void run_dma(struct uvfio_pci *dev, uint8_t *mem, uint64_t iova, uint32_t expect)
{
	int irq = eventfd(0, EFD_CLOEXEC);
	struct pollfd p = {.fd = irq, .events = POLLIN};

	for (unsigned i = 0; i < DMA_LEN; i++)
		mem[i] = (uint8_t)(i + 3);
	memset(mem + DMA_LEN, 0, DMA_LEN);
	assert_int_equal(uvfio_pci_irq_enable(dev, UVFIO_PCI_MSIX, 0, 1, &irq), 0);
	uvfio_pci_write64(dev, 0, REG_DMA, iova);
	assert_int_equal(poll(&p, 1, 60000), 1);
	assert_int_equal(uvfio_pci_read32(dev, 0, REG_DONE), expect);
	for (unsigned i = 0; expect == 1 && i < DMA_LEN; i++)
		assert_int_equal(mem[DMA_LEN + i], (uint8_t) ~(i + 3));
	assert_int_equal(uvfio_pci_irq_disable(dev, UVFIO_PCI_MSIX), 0);
	close(irq);
}

static void test_one_memory_two_devices(void **state)
{
	uint8_t *own = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uvfio_pci_mem early, late;
	uint64_t first[2], last[2], iova = 0;

	/* Before there is a device. */
	assert_int_equal(uvfio_dma_space_ranges(space, first, last, 2), 2);
	assert_true(last[1] == UINT64_MAX);
	assert_int_equal(uvfio_dma_space_alloc(space, 8192, 0, &early, NULL), 0);
	server_start(&servers[0]);
	open_one(0, NULL);
	assert_ptr_equal(uvfio_pci_dma_space(devs[0]), space);
	assert_true(has(0, early.iova, 8192));
	assert_int_equal(uvfio_dma_space_ranges(space, first, last, 2), 2);
	assert_true(last[1] == (1ull << 48) - 1);

	/* By the first device, and with a descriptor and without. */
	assert_int_equal(uvfio_pci_dma_alloc(devs[0], 4096, 0, &late, NULL), 0);
	assert_int_equal(uvfio_pci_dma_map(devs[0], own, 4096, 0, -1, 0, &iova, NULL), 0);
	server_start(&servers[1]);
	open_one(1, NULL);
	assert_int_equal(nr_maps(1), 3);
	for (unsigned i = 0; i < 2; i++) {
		run_dma(devs[i], early.addr, early.iova, 1);
		run_dma(devs[i], late.addr, late.iova, 1);
		run_dma(devs[i], own, iova, 1);
	}
	/* What one leaves the other finds. */
	run_dma(devs[0], early.addr, early.iova, 1);
	memcpy(early.addr, (uint8_t *)early.addr + DMA_LEN, DMA_LEN);
	assert_int_equal(((uint8_t *)early.addr)[0], (uint8_t)~3);

	/* By the other one. */
	assert_int_equal(uvfio_pci_dma_unmap(devs[1], iova, 4096), 0);
	assert_false(has(0, iova, 4096) || has(1, iova, 4096));
	run_dma(devs[0], own, iova, 0x80000000 | EFAULT);
	assert_int_equal(uvfio_pci_dma_free(devs[1], &late), 0);
	assert_int_equal(nr_maps(0), 1);

	/* One goes: nothing changes for the other, nor when the creator goes. */
	uvfio_pci_close(devs[0]);
	run_dma(devs[1], early.addr, early.iova, 1);
	uvfio_dma_space_free(space);
	run_dma(devs[1], early.addr, early.iova, 1);
	uvfio_pci_close(devs[1]);
	munmap(own, 4096);
}

static void test_a_device_has_a_space_of_its_own(void **state)
{
	struct uvfio_pci_mem a, b;

	for (unsigned i = 0; i < 2; i++) {
		server_start(&servers[i]);
		assert_int_equal(uvfio_pci_open(names[i], NULL, &devs[i], NULL), 0);
	}
	assert_ptr_not_equal(uvfio_pci_dma_space(devs[0]), uvfio_pci_dma_space(devs[1]));
	assert_int_equal(uvfio_pci_dma_alloc(devs[0], 4096, 0, &a, NULL), 0);
	assert_int_equal(nr_maps(1), 0);
	assert_int_equal(uvfio_dma_space_alloc(uvfio_pci_dma_space(devs[0]), 4096, 0, &b, NULL), 0);
	assert_int_equal(nr_maps(0), 2);
	close_both();
}

/* ---- a server that refuses ---- */

static atomic_int refuse; /* this command, with EBUSY */

static bool refusing(struct server *s, const struct vfio_user_header *h, uint8_t *payload, int *fds,
		     unsigned nr_fds)
{
	if (h->command != atomic_load(&refuse))
		return false;
	server_error(s, h, EBUSY);
	return true;
}

static void test_refused(void **state)
{
	struct uvfio_pci_mem mem, other;
	struct uvfio_error err = {""};
	uint64_t iova = 0x100000;
	void *own = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	/* Whichever of the two is told first. */
	for (unsigned who = 0; who < 2; who++) {
		atomic_store(&refuse, -1);
		servers[who].hook = refusing;
		open_both();
		assert_int_equal(uvfio_dma_space_alloc(space, 4096, 0, &mem, &err), 0);

		atomic_store(&refuse, VFIO_USER_DMA_MAP);
		assert_int_equal(uvfio_dma_space_alloc(space, 4096, 0, &other, &err), -EBUSY);
		assert_non_null(strstr(err.msg, names[who]));
		assert_int_equal(uvfio_dma_space_map(space, own, 4096, UVFIO_PCI_DMA_FIXED, -1, 0,
						     &iova, &err),
				 -EBUSY);
		assert_int_equal(nr_maps(0), 1);
		assert_int_equal(nr_maps(1), 1);

		/* It keeps the memory, and so does the other. */
		atomic_store(&refuse, VFIO_USER_DMA_UNMAP);
		assert_int_equal(uvfio_dma_space_release(space, &mem), -EBUSY);
		for (unsigned i = 0; i < 2; i++) {
			assert_true(has(i, mem.iova, 4096));
			run_dma(devs[i], mem.addr, mem.iova, 1);
		}
		atomic_store(&refuse, -1);
		assert_int_equal(uvfio_dma_space_map(space, own, 4096, UVFIO_PCI_DMA_FIXED, -1, 0,
						     &iova, &err),
				 0); /* the IOVA is free */
		assert_int_equal(uvfio_dma_space_release(space, &mem), 0);
		assert_int_equal(nr_maps(0), 1);
		assert_int_equal(nr_maps(1), 1);
		close_both();
		server_stop(&servers[0]);
		server_stop(&servers[1]);
		servers[who].hook = NULL;
		assert_int_equal(uvfio_dma_space_new(&space, NULL), 0);
	}

	/* A device that does not take what is there does not come. */
	server_start(&servers[0]);
	open_one(0, NULL);
	assert_int_equal(uvfio_dma_space_alloc(space, 4096, 0, &mem, &err), 0);
	atomic_store(&refuse, VFIO_USER_DMA_MAP);
	servers[1].hook = refusing;
	server_start(&servers[1]);
	assert_int_equal(uvfio_pci_open_in(space, names[1], NULL, &devs[1], &err), -EBUSY);
	run_dma(devs[0], mem.addr, mem.iova, 1);
	assert_int_equal(uvfio_dma_space_release(space, &mem), 0);
	uvfio_pci_close(devs[0]);
	uvfio_dma_space_free(space);
	munmap(own, 4096);
}

/* ---- a server that is gone ---- */

static void await_lost(struct uvfio_pci *dev)
{
	struct pollfd p = {.fd = uvfio_pci_lost_fd(dev), .events = POLLIN};

	assert_int_equal(poll(&p, 1, 60000), 1);
}

static void test_lost_and_back(void **state)
{
	struct uvfio_pci_mem before, during, gone;
	struct uvfio_error err = {""};

	open_both();
	assert_int_equal(uvfio_dma_space_alloc(space, 4096, 0, &before, NULL), 0);
	assert_int_equal(uvfio_dma_space_alloc(space, 4096, 0, &gone, NULL), 0);
	server_stop(&servers[1]);
	await_lost(devs[1]);
	/* The other one goes on, with what is mapped and unmapped meanwhile. */
	assert_int_equal(uvfio_dma_space_alloc(space, 8192, 0, &during, NULL), 0);
	assert_int_equal(uvfio_dma_space_release(space, &gone), 0);
	run_dma(devs[0], during.addr, during.iova, 1);
	assert_int_equal(uvfio_pci_reconnect(devs[1], 0, &err), -ETIMEDOUT);
	run_dma(devs[0], before.addr, before.iova, 1);

	server_start(&servers[1]);
	assert_int_equal(uvfio_pci_reconnect(devs[1], 60000, &err), 0);
	assert_int_equal(nr_maps(1), 2);
	for (unsigned i = 0; i < 2; i++) {
		run_dma(devs[i], before.addr, before.iova, 1);
		run_dma(devs[i], during.addr, during.iova, 1);
	}
	assert_int_equal(uvfio_dma_space_release(space, &during), 0);
	assert_int_equal(nr_maps(1), 1);

	/* Nobody is left to be told. */
	server_stop(&servers[0]);
	server_stop(&servers[1]);
	await_lost(devs[0]);
	await_lost(devs[1]);
	assert_int_equal(uvfio_dma_space_alloc(space, 8192, 0, &during, &err), -ENOTCONN);
	server_start(&servers[0]);
	assert_int_equal(uvfio_pci_reconnect(devs[0], 60000, &err), 0);
	run_dma(devs[0], before.addr, before.iova, 1);
	assert_int_equal(uvfio_dma_space_release(space, &before), 0);
	assert_int_equal(nr_maps(0), 0);
	close_both();
}

/* ---- at the same time ---- */

static atomic_bool stop;

/* What went wrong, of a thread's own; or NULL. */
static void *map_and_unmap(void *arg)
{
	struct uvfio_error *err = arg;

	while (!atomic_load(&stop)) {
		struct uvfio_pci_mem mem;

		if (uvfio_dma_space_alloc(space, 4096, 0, &mem, err))
			return err->msg;
		memset(mem.addr, 1, 4096);
		if (uvfio_dma_space_release(space, &mem))
			return "release";
	}
	return NULL;
}

static void test_while_others_map(void **state)
{
	struct uvfio_pci_mem fixed;
	struct uvfio_error errs[2] = {{""}, {""}};
	pthread_t threads[2];
	void *what;

	atomic_store(&stop, false);
	open_both();
	assert_int_equal(uvfio_dma_space_alloc(space, 4096, 0, &fixed, NULL), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, map_and_unmap, &errs[i]), 0);
	/* One comes, goes and loses its server; the other one is there all the time. */
	for (unsigned i = 0; i < 20; i++) {
		uint8_t *at = (uint8_t *)fixed.addr + 2048;

		if (i % 2) {
			server_stop(&servers[1]);
			await_lost(devs[1]);
			server_start(&servers[1]);
			assert_int_equal(uvfio_pci_reconnect(devs[1], 60000, NULL), 0);
		} else {
			uvfio_pci_close(devs[1]);
			server_stop(&servers[1]);
			server_start(&servers[1]);
			open_one(1, NULL);
		}
		assert_true(has(1, fixed.iova, 4096));
		run_dma(devs[1], at, fixed.iova + 2048, 1);
		run_dma(devs[0], fixed.addr, fixed.iova, 1);
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(threads[i], &what);
		if (what)
			fail_msg("%s", (char *)what);
	}
	assert_int_equal(nr_maps(0), 1);
	assert_int_equal(nr_maps(1), 1);
	close_both();
}

static void test_a_view_leaves_its_place(void **state)
{
	struct uvfio_pci *first = NULL;
	struct uvfio_error err = {""};

	/* A view that is gone leaves its place. */
	server_start(&servers[0]);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(uvfio_pci_open_in(space, names[0], NULL, &first, &err), 0);
		uvfio_pci_close(first);
		server_stop(&servers[0]);
		server_start(&servers[0]);
	}
	uvfio_dma_space_free(space);
	uvfio_dma_space_free(NULL);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_one_memory_two_devices),
		T(test_a_device_has_a_space_of_its_own),
		T(test_refused),
		T(test_lost_and_back),
		T(test_while_others_map),
		T(test_a_view_leaves_its_place),
	};

	guarded_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
