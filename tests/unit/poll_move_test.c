/* SPDX-License-Identifier: BSD-3-Clause */
/* src/vfio/poll.c under src/vfio/move.c: what clients store in mapped BARs while their device
 * stands still is found afterwards, once, here or where the device goes on. */
#include "vfio_fixture.h"

#include "devices/pcitest/pcitest_model.h"
#include "devices/pcitest/pcitest_spec.h"
#include "vfio/keep.h"
#include "vfio/machine_private.h"
#include "vfio/move.h"
#include "vfio/observe.h"

#define STREAM 65536
#define NAME   "0000:01:00.0"

static struct vfio_device *up(struct fixture *f)
{
	struct vfio_device *dev;

	fixture_machine(f);
	assert_int_equal(vfio_machine_add_model(f->machine, &pcitest_model), 0);
	fixture_add(f, "pcitest,memory=4K");
	dev = vfio_machine_get_device(f->machine, NAME);
	assert_non_null(dev);
	vfio_device_put(dev);
	return dev;
}

static void open_polled(struct fixture *f)
{
	fixture_open(f);
	assert_int_equal(vfio_device_file_set_mmio(f->df, VFIO_MMIO_POLLED), 0);
}

static volatile uint8_t *map(int fd)
{
	void *p = mmap(NULL, PCITEST_REGS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		       (off_t)VFIO_REGION_OFFSET(0));

	assert_true(p != MAP_FAILED);
	return p;
}

static void store(volatile uint8_t *p, unsigned off, uint32_t value)
{
	*(volatile uint32_t *)(p + off) = value;
}

static void ring(volatile uint8_t *p, unsigned i, uint32_t value)
{
	store(p, PCITEST_DOORBELLS + 4 * i, value);
}

/* Wait, without a limit of ours, until the register reads @value. */
static void await(struct fixture *f, unsigned off, uint32_t value)
{
	while (bar_get(f, 0, off, 4) != value)
		usleep(50);
}

static uint32_t last(struct fixture *f, unsigned i)
{
	return (uint32_t)bar_get(f, 0, PCITEST_LAST_DOORBELL + 4 * i, 4);
}

static void await_bell(struct fixture *f, unsigned i, uint32_t value)
{
	await(f, PCITEST_LAST_DOORBELL + 4 * i, value);
}

/* How many stores of four bytes the device has seen. */
static uint32_t stores(struct fixture *f)
{
	return (uint32_t)bar_get(f, 0, PCITEST_WRITES(0, 2), 4);
}

static struct vfio_move *pause_it(struct fixture *f)
{
	struct uvfio_error err = {""};
	struct vfio_move *move;

	if (vfio_move_begin(f->dev, VFIO_MOVE_SAVE, &move, &err) || vfio_move_pause(move, &err))
		fail_msg("%s", err.msg);
	return move;
}

static void end(struct vfio_move *move)
{
	struct uvfio_error err;

	assert_int_equal(vfio_move_end(move, VFIO_MOVE_BACK, &err), 0);
}

/* It does not come to a move. */
static void test_back(void **state)
{
	volatile uint8_t *p;
	struct vfio_move *move;
	struct fixture f;
	uint32_t before;

	up(&f);
	open_polled(&f);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	p = map(vfio_device_view_fd(f.dev));
	ring(p, 1, 11);
	await_bell(&f, 1, 11);
	before = stores(&f);
	move = pause_it(&f);
	ring(p, 2, 22);
	ring(p, 3, 33);
	ring(p, 3, 34); /* one store, for who looks later */
	store(p, PCITEST_IRQ, 0x80000000);
	store(p, PCITEST_DMA_BUFFER, 64);
	end(move);
	await_bell(&f, 2, 22);
	await_bell(&f, 3, 34);
	await(&f, PCITEST_DMA_BUFFER, 64);
	while (stores(&f) < before + 4)
		usleep(50);
	/* Doorbell 1 was not rung again. */
	ring(p, 4, 44);
	await_bell(&f, 4, 44);
	assert_int_equal(stores(&f), before + 5);
	munmap((void *)p, PCITEST_REGS_SIZE);
	fixture_close(&f);
}

/* The device, with what is known of its pages, into @to. */
static void hand_over(struct fixture *from, struct vfio_move *move, struct fixture *to,
		      struct mig_buf *polled)
{
	struct uvfio_error err = {""};
	struct vfio_device *dev = up(to);
	uint8_t *stream = malloc(STREAM);
	struct vfio_move *in;
	ssize_t n;

	assert_int_equal(vfio_move_begin(dev, VFIO_MOVE_LOAD, &in, &err), 0);
	while ((n = vfio_move_read(move, stream, STREAM)) > 0)
		if (vfio_move_write(in, stream, (size_t)n, &err) != n)
			fail_msg("%s", err.msg);
	assert_int_equal(n, 0);
	if (vfio_move_loaded(in, &err) || vfio_move_take(in, &err))
		fail_msg("%s", err.msg);
	end(in);
	free(stream);
	mig_buf_init(polled, 1u << 20);
	vfio_keep_polled(from->df, polled);
	assert_int_equal(polled->error, 0);
	to->tc.client.continues = true;
	open_polled(to);
	assert_true(vfio_device_file_continued(to->df));
}

static int no_eventfd(void *arg, unsigned index, unsigned vector)
{
	return -ENOENT;
}

static void test_over(void **state)
{
	volatile uint8_t *p;
	struct vfio_move *move;
	struct mig_buf polled;
	struct fixture a, b;
	uint32_t before;

	up(&a);
	open_polled(&a);
	config_put(&a, PCI_COMMAND, 2, COMMAND_ON);
	p = map(vfio_device_view_fd(a.dev));
	ring(p, 1, 11);
	await_bell(&a, 1, 11);
	store(p, PCITEST_DMA_BUFFER, 128);
	await(&a, PCITEST_DMA_BUFFER, 128);
	before = stores(&a);
	move = pause_it(&a);
	ring(p, 2, 22);
	hand_over(&a, move, &b, &polled);
	assert_int_equal(vfio_keep_put_polled(
				 b.df, &(struct mig_in){polled.bytes, polled.bytes + polled.len}),
			 0);
	assert_int_equal(vfio_keep_view(b.df, vfio_device_view_fd(a.dev)), 0);
	assert_int_equal(vfio_keep_irqs(b.df, no_eventfd, NULL), 0);
	/* Nothing is taken up here before it is this one's. */
	store(p, PCITEST_DMA_BUFFER, 256);
	ring(p, 3, 33);
	poll_look(b.dev);
	assert_int_equal(last(&b, 2), 0);
	assert_int_equal(stores(&b), before);
	vfio_keep_master(b.df);
	await_bell(&b, 2, 22);
	await_bell(&b, 3, 33);
	await(&b, PCITEST_DMA_BUFFER, 256);
	while (stores(&b) < before + 3)
		usleep(50);
	assert_int_equal(last(&b, 1), 11);
	ring(p, 1, 12);
	await_bell(&b, 1, 12);
	assert_int_equal(stores(&b), before + 4);
	mig_buf_fini(&polled);
	munmap((void *)p, PCITEST_REGS_SIZE);
	/* It would look at its pages again, which are another one's. */
	assert_int_equal(vfio_device_file_set_mmio(a.df, VFIO_MMIO_NONE), 0);
	end(move);
	fixture_close(&a);
	fixture_close(&b);
}

static int put(struct fixture *f, const uint8_t *bytes, size_t len)
{
	return vfio_keep_put_polled(f->df, &(struct mig_in){bytes, bytes + len});
}

/* What is said about the pages is not what this device has. */
static void test_refused(void **state)
{
	volatile uint8_t *p;
	struct vfio_move *move;
	struct mig_buf polled;
	struct fixture a, b;

	up(&a);
	open_polled(&a);
	config_put(&a, PCI_COMMAND, 2, COMMAND_ON);
	p = map(vfio_device_view_fd(a.dev));
	move = pause_it(&a);
	hand_over(&a, move, &b, &polled);
	for (size_t len = 0; len < polled.len; len += len < 64 ? 1 : 61)
		assert_int_equal(put(&b, polled.bytes, len), -EINVAL);
	for (unsigned at = 0; at < 24; at++) {
		polled.bytes[at] ^= 0x81;
		assert_int_equal(put(&b, polled.bytes, polled.len), -EINVAL);
		polled.bytes[at] ^= 0x81;
	}
	assert_int_equal(vfio_device_file_set_mmio(b.df, VFIO_MMIO_NONE), 0);
	assert_int_equal(put(&b, polled.bytes, polled.len), -EINVAL);
	assert_int_equal(vfio_device_file_set_mmio(b.df, VFIO_MMIO_POLLED), 0);
	assert_int_equal(put(&b, polled.bytes, polled.len), 0);
	assert_int_equal(put(&b, polled.bytes, polled.len), -EINVAL);
	/* No file of pages came with it. */
	vfio_keep_master(b.df);
	assert_int_equal(last(&b, 1), 0);
	mig_buf_fini(&polled);
	fixture_close(&b);
	end(move);
	munmap((void *)p, PCITEST_REGS_SIZE);
	fixture_close(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_back),
		cmocka_unit_test(test_over),
		cmocka_unit_test(test_refused),
	};

	guarded_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
