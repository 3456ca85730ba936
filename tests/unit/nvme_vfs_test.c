/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VFs of the NVMe controller in a machine (uvfio/machine.h), each driven by a thread of its own
 * (uvfio/driver.h, examples/nvme_ctrl.h): what the controllers share is shared by threads here.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <uvfio/machine.h>

#include "nvme_ctrl.h"

#define CSTS        0x1c
#define BLOCK       512u
#define TOKEN       "2b0c7ad5-6a25-4c3e-9a5b-4c2f5f3f1a77"
#define FUSE_FIRST  1
#define FUSE_SECOND 2
#define COMPARE     0x05
#define VIRT        0x1c
#define STATUS      0x7ff
#define MISCOMPARE  0x285

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static struct uvfio_machine *machine;
static bool token; /* VFs need one: vfio-pci has the PF */

static void make(const char *device)
{
	struct uvfio_error err;

	token = strstr(device, "vf_token=");
	if (uvfio_machine_new("enable_sriov=Y,name=nvme-vfs", &machine, &err) ||
	    uvfio_machine_add(machine, device, NULL, &err))
		fail_msg("%s", err.msg);
}

static void unmake(void)
{
	assert_int_equal(uvfio_machine_free(machine), 0);
}

/* Function @i: the PF, then its VFs, which answer behind it. */
static void connect_to(unsigned i, char device[20])
{
	char name[80];
	struct uvfio_error err;
	int fd;

	snprintf(name, sizeof(name), "0000:%02x:%02x.%u%s", 1 + i / 256, i / 8 % 32, i % 8,
		 token && i ? " vf_token=" TOKEN : "");
	fd = uvfio_machine_connect(machine, name, &err);
	if (fd < 0)
		fail_msg("%s: %s", name, err.msg);
	snprintf(device, 20, "fd:%d", fd);
}

static int try_open(struct nvme_ctrl *c, unsigned i)
{
	const struct nvme_config config = {.queues = 1, .slots = 4, .slot_size = NVME_PAGE};
	char device[20];

	connect_to(i, device);
	return nvme_open(c, device, &config);
}

static void open_function(struct nvme_ctrl *c, unsigned i)
{
	assert_int_equal(try_open(c, i), 0);
}

/* The status of the next completion. */
static unsigned status_of(struct nvme_queue *q)
{
	unsigned slot, status;

	while (!nvme_reap(q, &slot, &status))
		sched_yield();
	nvme_reaped(q);
	return status & STATUS;
}

static unsigned rw(struct nvme_ctrl *c, uint8_t opcode, uint64_t lba, void *data)
{
	struct nvme_queue *q = &c->io[0];
	unsigned status;

	if (opcode == NVME_WRITE)
		memcpy(nvme_buffer(q, 0), data, BLOCK);
	nvme_queue_rw(q, opcode, 0, lba, BLOCK);
	nvme_ring(q);
	status = status_of(q);
	if (opcode == NVME_READ)
		memcpy(data, nvme_buffer(q, 0), BLOCK);
	return status;
}

/* Replace @old by @new, or MISCOMPARE. */
static unsigned compare_and_write(struct nvme_ctrl *c, uint64_t lba, const void *old,
				  const void *new)
{
	struct nvme_queue *q = &c->io[0];
	unsigned status;

	for (unsigned i = 0; i < 2; i++) {
		unsigned at = q->tail;

		memcpy(nvme_buffer(q, i), i ? new : old, BLOCK);
		nvme_queue_rw(q, i ? NVME_WRITE : COMPARE, i, lba, BLOCK);
		q->sqes[at].flags = i ? FUSE_SECOND : FUSE_FIRST;
	}
	nvme_ring(q);
	status = status_of(q);
	status_of(q);
	return status;
}

/* Open function @i until its CSTS says that it is offline, or online.  Each controller goes on- and
 * offline in its own time, and in a reset of the PF its registers are away. */
static void await_offline(unsigned i, bool offline)
{
	struct uvfio_error err;
	struct uvfio_pci *dev;
	char device[20];
	uint32_t csts;

	do {
		sched_yield();
		csts = ~0u;
		connect_to(i, device);
		if (uvfio_pci_open(device, NULL, &dev, &err))
			continue;
		csts = uvfio_pci_read32(dev, 0, CSTS);
		uvfio_pci_close(dev);
	} while (csts != (offline ? 2 : 0));
}

/* ---- */

static void share(void **state)
{
	unsigned char data[BLOCK], got[BLOCK];
	struct nvme_ctrl a, b;

	make("nvme,memory=16M,vfs=4,numvfs=2,addr=0000:01:00.0,driver=nvme");
	open_function(&a, 1);
	open_function(&b, 2);
	assert_string_equal(a.serial, b.serial);
	memset(data, 0x11, sizeof(data));
	assert_int_equal(rw(&a, NVME_WRITE, 7, data), 0);
	assert_int_equal(rw(&b, NVME_READ, 7, got), 0);
	assert_memory_equal(data, got, BLOCK);
	nvme_close(&a);
	/* Who comes next finds it, too. */
	open_function(&a, 1);
	assert_int_equal(rw(&a, NVME_READ, 7, got), 0);
	assert_memory_equal(data, got, BLOCK);
	nvme_close(&a);
	nvme_close(&b);
	unmake();
}

static void bring_online(struct nvme_ctrl *pf, unsigned cntlid)
{
	struct nvme_sqe cmd = {.opcode = VIRT};

	for (unsigned type = 0; type < 2; type++) {
		cmd.dw[0] = cntlid << 16 | type << 8 | 8; /* assign */
		cmd.dw[1] = 3;
		assert_int_equal(nvme_admin(pf, cmd, "assign"), 0);
	}
	cmd.dw[0] = cntlid << 16 | 9;
	assert_int_equal(nvme_admin(pf, cmd, "online"), 0);
}

/* The driver of the PF decides, from when it has enabled it. */
static void managed(void **state)
{
	struct nvme_sqe cmd = {.opcode = VIRT};
	struct nvme_ctrl pf, vf;

	make("nvme,memory=16M,vfs=4,numvfs=2,addr=0000:01:00.0,vf_token=" TOKEN);
	await_offline(1, false);
	open_function(&pf, 0);
	await_offline(1, true);
	assert_int_not_equal(try_open(&vf, 1), 0);
	bring_online(&pf, 1);
	await_offline(1, false);
	await_offline(2, true);
	open_function(&vf, 1);
	/* Taken away from under its user. */
	cmd.dw[0] = 1u << 16 | 7;
	assert_int_equal(nvme_admin(&pf, cmd, "offline"), 0);
	while (uvfio_pci_read32(vf.dev, 0, CSTS) != 2)
		sched_yield();
	nvme_close(&vf);
	nvme_close(&pf);
	await_offline(1, false);
	unmake();
}

/* ---- threads ---- */

#define THREADS 4
#define ROUNDS  (SANITIZED ? 100 : 400)

struct worker {
	pthread_t thread;
	struct nvme_ctrl nvme;
	unsigned index, retries;
	atomic_uint wrong;
	const atomic_bool *stop;
	atomic_uint rounds;
};

/* Everybody counts the same block up. */
static void *count_up(void *arg)
{
	struct worker *w = arg;
	uint64_t old[BLOCK / 8], new[BLOCK / 8];

	for (unsigned i = 0; i < ROUNDS;) {
		unsigned status;

		w->wrong += !!rw(&w->nvme, NVME_READ, 3, old);
		memcpy(new, old, BLOCK);
		new[0]++;
		new[BLOCK / 8 - 1] = new[0];
		status = compare_and_write(&w->nvme, 3, old, new);
		w->wrong += status && status != MISCOMPARE;
		if (w->wrong)
			break;
		if (status)
			w->retries++;
		else
			i++;
	}
	return NULL;
}

static void counter(const char *device)
{
	struct worker workers[THREADS] = {0};
	uint64_t block[BLOCK / 8];
	unsigned retries = 0;

	make(device);
	for (unsigned i = 0; i < THREADS; i++) {
		open_function(&workers[i].nvme, i + 1);
		assert_int_equal(pthread_create(&workers[i].thread, NULL, count_up, &workers[i]),
				 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		assert_int_equal(workers[i].wrong, 0);
		retries += workers[i].retries;
	}
	assert_int_equal(rw(&workers[0].nvme, NVME_READ, 3, block), 0);
	assert_int_equal(block[0], THREADS * ROUNDS);
	assert_int_equal(block[BLOCK / 8 - 1], THREADS * ROUNDS);
	print_message("%u times another VF was first\n", retries);
	for (unsigned i = 0; i < THREADS; i++)
		nvme_close(&workers[i].nvme);
	unmake();
}

static void count_in_memory(void **state)
{
	counter("nvme,memory=16M,vfs=4,numvfs=4,addr=0000:01:00.0,driver=nvme");
}

static void count_in_file(void **state)
{
	char path[] = "/tmp/uvfio-vfs-XXXXXX", device[100];
	int fd = mkstemp(path);

	assert_true(fd >= 0 && !ftruncate(fd, 16 << 20));
	close(fd);
	snprintf(device, sizeof(device),
		 "nvme,file=%s,vfs=4,numvfs=4,addr=0000:01:00.0,driver=nvme", path);
	counter(device);
	unlink(path);
}

/* Writes and reads blocks of its own until it is to stop. */
static void *go_on(void *arg)
{
	struct worker *w = arg;
	uint64_t data[BLOCK / 8], got[BLOCK / 8];

	while (!atomic_load(w->stop)) {
		unsigned n = atomic_fetch_add(&w->rounds, 1);
		uint64_t lba = 100 + 100 * w->index + n % 100;

		for (unsigned i = 0; i < BLOCK / 8; i++)
			data[i] = n;
		w->wrong += !!rw(&w->nvme, NVME_WRITE, lba, data);
		w->wrong += !!rw(&w->nvme, NVME_READ, lba, got);
		w->wrong += !!memcmp(data, got, BLOCK);
		if (w->wrong)
			break;
	}
	return NULL;
}

static void await_rounds(const struct worker *w, unsigned more)
{
	unsigned until = atomic_load(&w->rounds) + more;

	while ((int)(until - atomic_load(&w->rounds)) > 0 && !w->wrong)
		sched_yield();
}

/* One is reset, closed with commands under way, and opened, again and again: the others go on. */
static void harmless(void **state)
{
	atomic_bool stop = false;
	struct worker workers[2] = {{.stop = &stop}, {.stop = &stop, .index = 1}};
	struct uvfio_error err;
	struct nvme_ctrl c;

	make("nvme,memory=16M,vfs=4,numvfs=4,addr=0000:01:00.0,driver=nvme");
	for (unsigned i = 0; i < 2; i++) {
		open_function(&workers[i].nvme, i + 1);
		assert_int_equal(pthread_create(&workers[i].thread, NULL, go_on, &workers[i]), 0);
	}
	for (unsigned i = 0; i < 10; i++) {
		open_function(&c, 3);
		for (unsigned slot = 0; slot < 4; slot++)
			nvme_queue_rw(&c.io[0], slot % 2 ? NVME_READ : NVME_WRITE, slot, slot,
				      NVME_PAGE);
		nvme_ring(&c.io[0]);
		if (i % 2)
			assert_int_equal(uvfio_pci_reset(c.dev), 0);
		nvme_close(&c);
		assert_int_equal(uvfio_machine_reset(machine, "0000:01:00.4", &err), 0);
		for (unsigned k = 0; k < 2; k++)
			await_rounds(&workers[k], 3);
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(workers[i].thread, NULL);
		assert_int_equal(workers[i].wrong, 0);
		nvme_close(&workers[i].nvme);
	}
	unmake();
}

/* The PF's driver attaches, detaches and formats a namespace, and takes a VF offline and back,
 * while others use theirs. */
static void management(void **state)
{
	atomic_bool stop = false;
	struct worker workers[2] = {{.stop = &stop}, {.stop = &stop, .index = 1}};
	struct nvme_sqe attach = {.opcode = 0x15, .nsid = 2}, format = {.opcode = 0x80, .nsid = 2};
	struct nvme_sqe offline = {.opcode = VIRT, .dw = {3u << 16 | 7}};
	struct nvme_ctrl pf;
	uint16_t *list;

	make("nvme,memory=16M,ns=memory=1M,vfs=4,numvfs=3,addr=0000:01:00.0,vf_token=" TOKEN);
	open_function(&pf, 0);
	for (unsigned i = 0; i < 2; i++) {
		bring_online(&pf, i + 1);
		open_function(&workers[i].nvme, i + 1);
		assert_int_equal(pthread_create(&workers[i].thread, NULL, go_on, &workers[i]), 0);
	}
	list = nvme_buffer(&pf.io[0], 0);
	attach.prp1 = pf.io[0].data.iova;
	memcpy(list, (uint16_t[]){3, 1, 2, 3}, 8);
	for (unsigned i = 0; i < 20; i++) {
		attach.dw[0] = 1 - i % 2; /* detach first */
		assert_int_equal(nvme_admin(&pf, attach, "attach"), 0);
		format.dw[0] = i % 2;
		assert_int_equal(nvme_admin(&pf, format, "format"), 0);
		bring_online(&pf, 3);
		assert_int_equal(nvme_admin(&pf, offline, "offline"), 0);
		for (unsigned k = 0; k < 2; k++)
			await_rounds(&workers[k], 2);
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(workers[i].thread, NULL);
		assert_int_equal(workers[i].wrong, 0);
		nvme_close(&workers[i].nvme);
	}
	nvme_close(&pf);
	unmake();
}

/* ---- a thousand ---- */

static long resident_kib(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long size, pages;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%ld %ld", &size, &pages), 2);
	fclose(f);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void thousand(void **state)
{
	long before, after;
	struct nvme_ctrl c;

	make("nvme,memory=16M,addr=0000:ff:00.0"); /* what there is once only */
	before = resident_kib();
	unmake();
	make("nvme,memory=16M,vfs=1000,numvfs=1000,addr=0000:01:00.0,driver=nvme");
	after = resident_kib();
	print_message("1000 VFs: %ld KiB\n", after - before);
	if (!SANITIZED)
		assert_in_range(after - before, 0, 100 * 1024);
	open_function(&c, 1000);
	nvme_close(&c);
	unmake();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(share),           cmocka_unit_test(managed),
		cmocka_unit_test(count_in_memory), cmocka_unit_test(count_in_file),
		cmocka_unit_test(harmless),        cmocka_unit_test(management),
		cmocka_unit_test(thousand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
