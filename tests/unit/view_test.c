/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * src/vfio/view.c, poll.c and the mapped side of device_rdwr.c: what a client sees and can do
 * through the view file.
 */
#include <sys/syscall.h>
#include "vfio_fixture.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

/* The client's mapping of a BAR. */
static volatile uint8_t *map_bar(struct fixture *f, unsigned bar, size_t len, int prot)
{
	void *p = mmap(NULL, len, prot, MAP_SHARED, vfio_device_view_fd(f->dev),
		       (off_t)VFIO_REGION_OFFSET(bar));

	return p == MAP_FAILED ? NULL : p;
}

static sigjmp_buf bus_jump;

static void on_sigbus(int sig)
{
	siglongjmp(bus_jump, 1);
}

/* Does a native access to *@p end in SIGBUS?  The handler of base/guard.h is put aside meanwhile:
 * nothing else runs in these tests that needs it. */
static bool faults(volatile uint8_t *p)
{
	struct sigaction sa = {.sa_handler = on_sigbus}, old;
	bool hit = false;

	sigaction(SIGBUS, &sa, &old);
	if (sigsetjmp(bus_jump, 1))
		hit = true;
	else
		(void)*(volatile uint32_t *)p;
	sigaction(SIGBUS, &old, NULL);
	return hit;
}

static uint32_t get32(volatile uint8_t *p, unsigned off)
{
	return *(volatile uint32_t *)(p + off);
}

static void test_published_values(void **state)
{
	volatile uint8_t *p;
	struct fixture f;

	fixture_up(&f, "probe");
	p = map_bar(&f, 0, 16384, PROT_READ);
	assert_non_null(p);
	assert_int_equal(get32(p, REG_ID), PROBE_ID);
	assert_int_equal(vfio_device_store(f.df, VFIO_REGION_OFFSET(0) + REG_SCRATCH, 4, 42), 0);
	assert_int_equal(get32(p, REG_SCRATCH), 42);
	/* Write one to clear: what is read is what the model says. */
	assert_int_equal(get32(p, REG_W1C), 0xff);
	assert_int_equal(vfio_device_store(f.df, VFIO_REGION_OFFSET(0) + REG_W1C, 4, 0x0f), 0);
	assert_int_equal(get32(p, REG_W1C), 0xf0);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(get32(p, REG_SCRATCH), 0);
	assert_int_equal(get32(p, REG_W1C), 0xff);
	assert_int_equal(get32(p, REG_ID), PROBE_ID);
	/* The MSI-X table: masked after reset, and a store of the client shows. */
	assert_int_equal(get32(p, REG_TABLE + 12) & 1, 1);
	assert_int_equal(vfio_device_store(f.df, VFIO_REGION_OFFSET(0) + REG_TABLE + 28, 4, 0), 0);
	assert_int_equal(get32(p, REG_TABLE + 28) & 1, 0);
	munmap((void *)p, 16384);
	fixture_close(&f);
}

static void test_withdrawn(void **state)
{
	volatile uint8_t *p;
	struct fixture f;

	fixture_up(&f, "probe");
	p = map_bar(&f, 0, 16384, PROT_READ);
	assert_non_null(p);
	assert_false(faults(p));
	config_put(&f, PCI_COMMAND, 2, 0);
	assert_true(faults(p));
	assert_true(faults(p + REG_TABLE));
	config_put(&f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_false(faults(p));
	assert_int_equal(get32(p, REG_ID), PROBE_ID);
	munmap((void *)p, 16384);
	fixture_close(&f);
}

static void test_stores(void **state)
{
	const uint64_t bar = VFIO_REGION_OFFSET(0);
	uint64_t value;
	struct fixture f;

	fixture_up(&f, "probe");
	assert_int_equal(vfio_device_store(f.df, bar + 8, 3, 0), -EINVAL);
	assert_int_equal(vfio_device_store(f.df, bar + 8, 16, 0), -EINVAL);
	assert_int_equal(vfio_device_store(f.df, bar + 16384, 4, 0), -EINVAL);
	assert_int_equal(vfio_device_store(f.df, VFIO_REGION_OFFSET(1), 4, 0), -EINVAL);
	assert_int_equal(vfio_device_store(f.df, VFIO_REGION_OFFSET(4), 4, 0), -EINVAL);
	assert_int_equal(vfio_device_store(f.df, VFIO_REGION_OFFSET(7), 4, 0), -EINVAL);
	assert_int_equal(vfio_device_load(f.df, bar + REG_COUNTER, 8, &value), 0);
	assert_int_equal(value, 1);
	assert_int_equal(vfio_device_load(f.df, bar + REG_ID, 2, &value), 0);
	assert_int_equal(value, PROBE_ID & 0xffff);
	config_put(&f, PCI_COMMAND, 2, 0);
	assert_int_equal(vfio_device_load(f.df, bar + REG_ID, 2, &value), -EIO);
	fixture_close(&f);
}

/* An unaligned store reaches the device as ascending aligned pieces. */
static void test_unaligned_store(void **state)
{
	static const uint32_t pieces[][3] = {{0x53, 1, 0x11}, {0x54, 2, 0x3322}, {0x56, 1, 0x44}};
	struct fixture f;

	fixture_up(&f, "probe");
	f.probe->nr_log = 0;
	assert_int_equal(vfio_device_store(f.df, VFIO_REGION_OFFSET(0) + 0x53, 4, 0x44332211), 0);
	assert_int_equal(f.probe->nr_log, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_memory_equal(f.probe->log[i], pieces[i], sizeof(pieces[i]));
	fixture_close(&f);
}

static void test_mmap_rules(void **state)
{
	const uint64_t bar = VFIO_REGION_OFFSET(0), memory = VFIO_REGION_OFFSET(2);
	const struct {
		uint64_t off, len;
		bool shared;
		int ret;
		bool writable, trap_reads;
	} table[] = {
		{bar, 16384, true, 0, false, true},
		{bar, 4096, true, 0, false, true}, /* a read is an event */
		{bar + 0x1000, 4096, true, 0, false, false},
		{bar + 0x2000, 4096, true, 0, false, false},
		{memory, 8192, true, 0, true, false},
		{memory + 4096, 4096, true, 0, true, false},
		{memory, 1, true, 0, true, false},
		{bar, 4096, false, -EINVAL, 0, 0},
		{bar, 0, true, -EINVAL, 0, 0},
		{bar, 16385, true, -EINVAL, 0, 0},
		{bar + 0x3000, 8192, true, -EINVAL, 0, 0},
		{bar + 0x4000, 4096, true, -EINVAL, 0, 0},
		{bar, UINT64_MAX, true, -EINVAL, 0, 0},
		{VFIO_REGION_OFFSET(1), 4096, true, -EINVAL, 0, 0},
		{VFIO_REGION_OFFSET(4), 4096, true, -EINVAL, 0, 0},
		{VFIO_REGION_OFFSET(6), 4096, true, -EINVAL, 0, 0},
		{VFIO_REGION_OFFSET(7), 4096, true, -EINVAL, 0, 0},
		{0, 4096, true, -EINVAL, 0, 0},
	};
	bool writable, trap_reads;
	struct fixture f;

	fixture_up(&f, "probe,memory=on");
	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		int ret = vfio_device_mmap(f.df, table[i].off, table[i].len, table[i].shared,
					   &writable, &trap_reads);

		if (ret != table[i].ret ||
		    (!ret && (writable != table[i].writable || trap_reads != table[i].trap_reads)))
			fail_msg("row %u: %d writable %d trap %d", i, ret, writable, trap_reads);
	}
	/* Success does not depend on memory decode. */
	config_put(&f, PCI_COMMAND, 2, 0);
	assert_int_equal(vfio_device_mmap(f.df, bar, 4096, true, &writable, &trap_reads), 0);
	assert_int_equal(vfio_device_file_set_mmio(f.df, VFIO_MMIO_POLLED), 0);
	assert_int_equal(vfio_device_mmap(f.df, bar + 0x1000, 4096, true, &writable, &trap_reads),
			 0);
	assert_true(writable);
	assert_int_equal(vfio_device_mmap(f.df, bar + 0x1000, 8192, true, &writable, &trap_reads),
			 0);
	assert_false(writable);
	assert_int_equal(vfio_device_file_set_mmio(f.df, VFIO_MMIO_NONE), 0);
	assert_int_equal(vfio_device_mmap(f.df, bar, 4096, true, &writable, &trap_reads), -EINVAL);
	assert_int_equal(vfio_device_mmap(f.df, memory, 4096, true, &writable, &trap_reads), 0);
	fixture_close(&f);
}

/* In exact mode no client can change a page, whatever it tries. */
static void test_seal(void **state)
{
	uint32_t value = 0xbad;
	volatile uint8_t *p;
	char path[64];
	int fd, again;
	struct fixture f;

	fixture_up(&f, "probe");
	fd = vfio_device_view_fd(f.dev);
	assert_null(map_bar(&f, 0, 4096, PROT_READ | PROT_WRITE));
	p = map_bar(&f, 0, 4096, PROT_READ);
	assert_non_null(p);
	assert_int_equal(mprotect((void *)p, 4096, PROT_READ | PROT_WRITE), -1);
	assert_int_equal(pwrite(fd, &value, 4, (off_t)VFIO_REGION_OFFSET(0)), -1);
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   (off_t)VFIO_REGION_OFFSET(0), 4096),
			 -1);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), -1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDWR | O_CLOEXEC);
	assert_true(again >= 0);
	assert_int_equal(pwrite(again, &value, 4, (off_t)VFIO_REGION_OFFSET(0)), -1);
	assert_int_equal(get32(p, REG_ID), PROBE_ID);
	/* It can make the file smaller, and harms itself only. */
	assert_int_equal(ftruncate(again, 0), 0);
	assert_true(faults(p));
	bar_put(&f, 0, REG_SCRATCH, 4, 7);
	assert_int_equal(bar_get(&f, 0, REG_SCRATCH, 4), 7);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(get32(p, REG_ID), PROBE_ID);
	/* Too late for polling in this session. */
	assert_int_equal(vfio_device_file_set_mmio(f.df, VFIO_MMIO_POLLED), -EBUSY);
	close(again);
	munmap((void *)p, 4096);
	fixture_close(&f);
}

/* A file kept from one session shows and reaches nothing of the next. */
static void test_sessions_are_apart(void **state)
{
	static const char name[] = "0000:01:00.0";
	volatile uint8_t *p;
	struct stat st;
	int kept;
	struct fixture f;

	fixture_up(&f, "probe,memory=on");
	p = map_bar(&f, 2, 8192, PROT_READ | PROT_WRITE);
	assert_non_null(p);
	p[100] = 0x5a;
	kept = fcntl(vfio_device_view_fd(f.dev), F_DUPFD_CLOEXEC, 0);
	vfio_device_release(f.df);
	assert_true(faults(p));
	assert_int_equal(vfio_group_get_device(f.gf, f.client, (uintptr_t)name, &f.df), 0);
	assert_int_equal(bar_get(&f, 2, 100, 1), 0x5a);
	assert_true(vfio_device_view_fd(f.dev) >= 0);
	fstat(kept, &st);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(ftruncate(kept, (off_t)VFIO_REGION_OFFSET(2) + 8192), 0);
	p[100] = 0x11;
	assert_int_equal(bar_get(&f, 2, 100, 1), 0x5a);
	close(kept);
	munmap((void *)p, 8192);
	fixture_close(&f);
}

static void test_memory_area(void **state)
{
	volatile uint8_t *p, *model;
	struct fixture f;

	fixture_up(&f, "probe,memory=on");
	model = uvfio_bar_memory(f.probe->dev, 2, 0);
	assert_non_null(model);
	model[0] = 1;
	p = map_bar(&f, 2, 8192, PROT_READ | PROT_WRITE);
	assert_non_null(p);
	assert_int_equal(p[0], 1);
	p[1] = 2;
	assert_int_equal(model[1], 2);
	bar_put(&f, 2, 4096, 8, 0x1122334455667788);
	assert_int_equal(*(volatile uint64_t *)(p + 4096), 0x1122334455667788);
	/* Contents live through a withdrawal and a reset; the model's address stays good. */
	config_put(&f, PCI_COMMAND, 2, 0);
	assert_true(faults(p));
	assert_int_equal(model[1], 2);
	model[2] = 3;
	config_put(&f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(p[1], 2);
	assert_int_equal(p[2], 3);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(p[2], 3);
	assert_ptr_equal(uvfio_bar_memory(f.probe->dev, 2, 0), model);
	/* A client that truncates the file loses the contents; the model goes on. */
	assert_int_equal(ftruncate(vfio_device_view_fd(f.dev), 0), 0);
	guarded();
	assert_int_equal(model[4096], 0);
	model[5] = 6;
	assert_int_equal(bar_get(&f, 2, 5, 1), 6);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(p[5], 6);
	munmap((void *)p, 8192);
	fixture_close(&f);
}

static void fill_pattern(uint8_t *buf, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(i * 7 + i / 251 + seed);
}

/* Accesses of all lengths and alignments to memory areas, and the register between two of them. */
static void test_memory_long_access(void **state)
{
	static const size_t offs[] = {0, 1, 7, 8, 100, 4095, 4096, 4104, 4112, 20003, 65000};
	static const size_t lens[] = {1,   7,    8,    63,   64,    65,    71,    128,
				      500, 4096, 4104, 9000, 16384, 16392, 40000, 65536};
	const uint64_t base = VFIO_REGION_OFFSET(2);
	uint8_t *want = calloc(1, MIXED_BYTES), *buf = malloc(MIXED_BYTES);
	struct fixture f;
	size_t full;

	fixture_up(&f, "probe,mixed=on");
	for (unsigned o = 0; o < sizeof(offs) / sizeof(offs[0]); o++) {
		for (unsigned l = 0; l < sizeof(lens) / sizeof(lens[0]); l++) {
			full = offs[o] + lens[l] > MIXED_BYTES ? MIXED_BYTES - offs[o] : lens[l];
			fill_pattern(buf, lens[l], o * 16 + l);
			assert_int_equal(vfio_device_write(f.df, base + offs[o], buf, lens[l]),
					 full);
			memcpy(want + offs[o], buf, full);
			/* The model ignores what is written there. */
			memset(want + MIXED_REGISTER, 0, 8);
			memset(buf, 0xEE, MIXED_BYTES);
			assert_int_equal(vfio_device_read(f.df, base, buf, MIXED_BYTES),
					 MIXED_BYTES);
			assert_memory_equal(buf, want, MIXED_BYTES);
			memset(buf, 0xEE, MIXED_BYTES);
			assert_int_equal(vfio_device_read(f.df, base + offs[o], buf, lens[l]),
					 full);
			assert_memory_equal(buf, want + offs[o], full);
			for (size_t i = full; i < lens[l]; i++)
				assert_int_equal(buf[i], 0xEE);
		}
	}
	/* The register was written as one piece, in the middle of a long write. */
	f.probe->nr_log = 0;
	assert_int_equal(vfio_device_write(f.df, base, want, MIXED_BYTES), MIXED_BYTES);
	assert_int_equal(f.probe->nr_log, 1);
	assert_int_equal(f.probe->log[0][0], MIXED_REGISTER | 2 << 28);
	assert_int_equal(f.probe->log[0][1], 8);
	/* Memory decode off: nothing of it is read or written. */
	config_put(&f, PCI_COMMAND, 2, 0);
	memset(buf, 0xEE, MIXED_BYTES);
	assert_int_equal(vfio_device_read(f.df, base, buf, MIXED_BYTES), -EIO);
	for (size_t i = 0; i < MIXED_BYTES; i++)
		assert_int_equal(buf[i], 0xEE);
	assert_int_equal(vfio_device_write(f.df, base, buf, MIXED_BYTES), -EIO);
	config_put(&f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(vfio_device_read(f.df, base, buf, MIXED_BYTES), MIXED_BYTES);
	assert_memory_equal(buf, want, MIXED_BYTES);
	fixture_close(&f);
	free(want);
	free(buf);
}

/* A client that cuts pages off the view gets zeros for those, and the other pages as they are. */
static void test_memory_cut_off(void **state)
{
	const uint64_t base = VFIO_REGION_OFFSET(2), cut = 3 * 4096;
	uint8_t *want = calloc(1, MIXED_BYTES), *buf = malloc(MIXED_BYTES);
	struct fixture f;

	fixture_up(&f, "probe,mixed=on");
	guarded();
	assert_true(vfio_device_view_fd(f.dev) >= 0);
	fill_pattern(want, MIXED_BYTES, 3);
	memset(want + MIXED_REGISTER, 0, 8);
	assert_int_equal(vfio_device_write(f.df, base, want, MIXED_BYTES), MIXED_BYTES);
	assert_int_equal(ftruncate(vfio_device_view_fd(f.dev), (off_t)(base + cut)), 0);
	memset(want + cut, 0, MIXED_BYTES - cut);
	memset(buf, 0xEE, MIXED_BYTES);
	assert_int_equal(vfio_device_read(f.df, base, buf, MIXED_BYTES), MIXED_BYTES);
	assert_memory_equal(buf, want, MIXED_BYTES);
	memset(buf, 0xEE, MIXED_BYTES);
	assert_int_equal(vfio_device_read(f.df, base + 4097, buf, 20000), 20000);
	assert_memory_equal(buf, want + 4097, 20000);
	/* What is written there is lost, and what is written in front of it is not. */
	fill_pattern(want, cut, 9);
	fill_pattern(buf, MIXED_BYTES, 9);
	memset(want + MIXED_REGISTER, 0, 8);
	assert_int_equal(vfio_device_write(f.df, base, buf, MIXED_BYTES), MIXED_BYTES);
	memset(buf, 0xEE, MIXED_BYTES);
	assert_int_equal(vfio_device_read(f.df, base, buf, MIXED_BYTES), MIXED_BYTES);
	assert_memory_equal(buf, want, MIXED_BYTES);
	fixture_close(&f);
	free(want);
	free(buf);
}

/* Wait, without a limit of ours, until the register reads @value. */
static void await(struct fixture *f, unsigned off, uint32_t value)
{
	while (bar_get(f, 0, off, 4) != value)
		usleep(50);
}

static void test_polling(void **state)
{
	volatile uint8_t *p;
	struct fixture f;

	fixture_machine(&f);
	fixture_add(&f, "probe");
	fixture_open(&f);
	assert_int_equal(vfio_device_file_set_mmio(f.df, VFIO_MMIO_POLLED), 0);
	p = map_bar(&f, 0, 16384, PROT_READ | PROT_WRITE);
	assert_non_null(p);
	assert_int_equal(bar_get(&f, 0, REG_WRITES, 4), 0);
	*(volatile uint32_t *)(p + REG_DOORBELL + 8) = 17;
	await(&f, REG_WRITES, 1);
	assert_int_equal(f.probe->log[0][0], REG_DOORBELL + 8);
	assert_int_equal(f.probe->log[0][1], 4);
	assert_int_equal(f.probe->log[0][2], 17);
	/* Back to zero, as a ring that wraps. */
	*(volatile uint32_t *)(p + REG_DOORBELL + 8) = 0;
	await(&f, REG_WRITES, 2);
	assert_int_equal(f.probe->log[1][2], 0);
	/* A pollable register shows what the model publishes, which is nothing here. */
	*(volatile uint32_t *)(p + REG_POLLABLE) = 5;
	await(&f, REG_WRITES, 3);
	while (get32(p, REG_POLLABLE) != 0)
		usleep(50);
	*(volatile uint32_t *)(p + REG_POLLABLE) = 5;
	await(&f, REG_WRITES, 4);
	/* What the model publishes is no client's write. */
	uvfio_reg_set(f.probe->dev, 0, REG_DOORBELL, 4, 99);
	uvfio_reg_set(f.probe->dev, 0, REG_POLLABLE + 8, 8, 0x1234567800000001);
	assert_int_equal(get32(p, REG_DOORBELL), 99);
	*(volatile uint32_t *)(p + REG_DOORBELL + 4) = 1;
	await(&f, REG_WRITES, 5);
	assert_int_equal(f.probe->log[4][0], REG_DOORBELL + 4);
	/* Other registers are not polled, and their pages are no truth. */
	*(volatile uint32_t *)(p + REG_SCRATCH) = 1;
	assert_int_equal(bar_get(&f, 0, REG_SCRATCH, 4), 0);
	/* A client that takes the pages away. */
	assert_int_equal(ftruncate(vfio_device_view_fd(f.dev), 0), 0);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(get32(p, REG_ID), PROBE_ID);
	*(volatile uint32_t *)(p + REG_DOORBELL) = 3;
	await(&f, REG_WRITES, 1);
	munmap((void *)p, 16384);
	fixture_close(&f);
}

/* Where writing 0 means nothing, the value that is published is news too. */
static void test_polling_zero(void **state)
{
	volatile uint8_t *p;
	struct fixture f;

	fixture_machine(&f);
	fixture_add(&f, "probe");
	fixture_open(&f);
	assert_int_equal(vfio_device_file_set_mmio(f.df, VFIO_MMIO_POLLED), 0);
	p = map_bar(&f, 0, 16384, PROT_READ | PROT_WRITE);
	assert_non_null(p);
	uvfio_reg_set(f.probe->dev, 0, REG_POLL_ZERO, 4, 1);
	assert_int_equal(get32(p, REG_POLL_ZERO), 0);
	assert_int_equal(bar_get(&f, 0, REG_POLL_ZERO, 4), 1); /* read(2) knows better */
	for (unsigned i = 0; i < 3; i++) {
		*(volatile uint32_t *)(p + REG_POLL_ZERO) = 1;
		await(&f, REG_WRITES, i + 1);
		assert_int_equal(f.probe->log[i][0], REG_POLL_ZERO);
		assert_int_equal(f.probe->log[i][2], 1);
		while (get32(p, REG_POLL_ZERO) != 0)
			usleep(50);
	}
	/* A view that goes and comes. */
	config_put(&f, PCI_COMMAND, 2, 0);
	config_put(&f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(get32(p, REG_POLL_ZERO), 0);
	*(volatile uint32_t *)(p + REG_POLL_ZERO) = 1;
	await(&f, REG_WRITES, 4);
	/* Not polled any more: what is published. */
	assert_int_equal(vfio_device_file_set_mmio(f.df, VFIO_MMIO_NONE), 0);
	assert_int_equal(get32(p, REG_POLL_ZERO), 1);
	munmap((void *)p, 16384);
	fixture_close(&f);
}

struct stress {
	struct fixture *f;
	atomic_bool stop;
};

static void *publish(void *arg)
{
	struct stress *s = arg;

	for (uint32_t i = 0; !s->stop; i++)
		uvfio_reg_set(s->f->probe->dev, 0, 0x60 + 8 * (i % 2), 8, i);
	return NULL;
}

/* Publishing in two threads while the view comes and goes: page and register agree in the end. */
static void test_publishing_races(void **state)
{
	volatile uint8_t *p;
	pthread_t threads[2];
	struct stress s = {0};
	struct fixture f;

	fixture_up(&f, "probe");
	s.f = &f;
	p = map_bar(&f, 0, 4096, PROT_READ);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, publish, &s), 0);
	for (unsigned i = 0; i < 300; i++) {
		config_put(&f, PCI_COMMAND, 2, 0);
		config_put(&f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	}
	s.stop = true;
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	for (unsigned off = 0x60; off < 0x70; off += 8)
		assert_int_equal(*(volatile uint64_t *)(p + off), bar_get(&f, 0, off, 8));
	munmap((void *)p, 4096);
	fixture_close(&f);
}

/* Where a mapping cannot trap its pages read as ones while memory is off, and stores go nowhere. */
static void test_ones(void **state)
{
	static const uint8_t ones[64] = {[0 ... 63] = 0xff};
	volatile uint8_t *regs, *bells, *mem;
	struct fixture f;
	unsigned pm;

	fixture_machine(&f);
	fixture_add(&f, "probe,mixed=on");
	fixture_open(&f);
	assert_int_equal(vfio_device_file_set_mmio(f.df, VFIO_MMIO_POLLED), 0);
	pm = pci_find_cap(vfio_device_func(f.dev), PCI_CAP_ID_PM);
	assert_true(vfio_device_view_fd(f.dev) >= 0);
	regs = map_bar(&f, 0, 16384, PROT_READ);
	bells = map_bar(&f, 0, 16384, PROT_READ | PROT_WRITE) + 0x1000;
	mem = map_bar(&f, 2, 4096, PROT_READ | PROT_WRITE);
	bar_put(&f, 0, REG_SCRATCH, 4, 7);
	bar_put(&f, 2, 16, 4, 0x12345678);
	bar_put(&f, 0, REG_TABLE, 4, 1);
	for (unsigned way = 0; way < 3; way++) {
		if (way == 0)
			config_put(&f, PCI_COMMAND, 2, 0);
		else if (way == 1)
			config_put(&f, pm + PCI_PM_CTRL, 2, 3);
		else
			assert_int_equal(
				dev_ioctl(&f, VFIO_DEVICE_FEATURE,
					  &(struct vfio_device_feature){
						  8, VFIO_DEVICE_FEATURE_SET |
							     VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY}),
				0);
		assert_memory_equal((void *)regs, ones, 64);
		assert_memory_equal((void *)(regs + 0x3fc0), ones, 64);
		assert_memory_equal((void *)mem, ones, 64);
		bells[0] = 0x55;
		mem[0] = 0x66;
		if (way == 0)
			config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
		else if (way == 1)
			config_put(&f, pm + PCI_PM_CTRL, 2, 0);
		else
			assert_int_equal(
				dev_ioctl(&f, VFIO_DEVICE_FEATURE,
					  &(struct vfio_device_feature){
						  8, VFIO_DEVICE_FEATURE_SET |
							     VFIO_DEVICE_FEATURE_LOW_POWER_EXIT}),
				0);
		/* What is there again is the device's, gaps included. */
		assert_int_equal(get32(regs, REG_ID), PROBE_ID);
		assert_int_equal(get32(regs, 0x900), 0);
		assert_int_equal(get32(regs, 0x3fc0), 0);
		assert_int_equal(bells[0], 0);
		assert_int_equal(get32(mem, 16), 0x12345678);
		assert_int_equal(mem[0], 0);
	}
	assert_int_equal(f.probe->nr_log, 0);
	munmap((void *)regs, 16384);
	munmap((void *)(bells - 0x1000), 16384);
	munmap((void *)mem, 4096);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published_values),
		cmocka_unit_test(test_withdrawn),
		cmocka_unit_test(test_stores),
		cmocka_unit_test(test_unaligned_store),
		cmocka_unit_test(test_mmap_rules),
		cmocka_unit_test(test_seal),
		cmocka_unit_test(test_sessions_are_apart),
		cmocka_unit_test(test_memory_area),
		cmocka_unit_test(test_memory_long_access),
		cmocka_unit_test(test_memory_cut_off),
		cmocka_unit_test(test_polling),
		cmocka_unit_test(test_polling_zero),
		cmocka_unit_test(test_ones),
		cmocka_unit_test(test_publishing_races),
	};

	guarded_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
