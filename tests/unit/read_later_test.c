/* SPDX-License-Identifier: BSD-3-Clause */
/* Registers whose reading takes time (UVFIO_AREA_READ_LATER): who waits, for whom, and for whom
 * not. */
#include <semaphore.h>
#include "vfio_fixture.h"
#include "vfio/machine_private.h"
#include "vfio/observe.h"

/* BAR 0: a register that answers later at 0, an ordinary one at 8. */
struct slow {
	struct uvfio_device *dev;
	bool at_once;
	_Atomic uint64_t started, value;
	_Atomic bool quiet, destroyed_loud;
	sem_t starts;
};

static struct slow slow; /* tests run one at a time */

static int slow_create(struct uvfio_device *dev, const struct uvfio_args *args, void **priv,
		       struct uvfio_error *err)
{
	const struct uvfio_area areas[] = {
		{0, 4, UVFIO_AREA_REGISTERS, UVFIO_AREA_READ_EVENT | UVFIO_AREA_READ_LATER},
		{8, 8, UVFIO_AREA_REGISTERS, 0},
	};
	const struct uvfio_pci_desc desc = {
		.vendor = 1,
		.device = 2,
		.class_code = 0xff0000,
		.bars = {{4096, UVFIO_BAR_MEM32, areas, 2}},
		.pcie = true,
		.flr = true,
	};

	memset(&slow, 0, sizeof(slow));
	sem_init(&slow.starts, 0, 0);
	slow.dev = dev;
	*priv = &slow;
	return uvfio_device_init(dev, &desc, err);
}

static void slow_destroy(void *priv)
{
	slow.destroyed_loud = !slow.quiet;
	sem_destroy(&slow.starts);
}

static void slow_write(void *priv, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	uvfio_reg_set(slow.dev, bar, offset, size, value);
}

static uint64_t slow_read(void *priv, unsigned bar, uint64_t offset, unsigned size)
{
	return slow.value;
}

static void slow_read_start(void *priv, unsigned bar, uint64_t offset, unsigned size,
			    uint64_t ticket)
{
	assert_int_equal(bar, 0);
	assert_int_equal(offset, 0);
	slow.started = ticket;
	if (slow.at_once)
		uvfio_reg_read_ready(slow.dev, ticket);
	sem_post(&slow.starts);
}

static bool slow_work(void *priv)
{
	return false;
}

static void slow_quiesce(void *priv)
{
	slow.quiet = true;
	uvfio_quiesced(slow.dev);
}

static void slow_resume(void *priv)
{
	slow.quiet = false;
}

static void slow_reset(void *priv, enum uvfio_reset_kind kind)
{
	if (kind == UVFIO_RESET_FUNCTION)
		uvfio_reg_read_ready(slow.dev, slow.started);
}

static const struct uvfio_model slow_model = {
	.abi = UVFIO_DEVICE_ABI,
	.name = "slow",
	.summary = "a register that takes time",
	.create = slow_create,
	.destroy = slow_destroy,
	.reg_write = slow_write,
	.reg_read = slow_read,
	.reg_read_start = slow_read_start,
	.work = slow_work,
	.quiesce = slow_quiesce,
	.resume = slow_resume,
	.reset = slow_reset,
};

static void up(struct fixture *f)
{
	fixture_machine(f);
	assert_int_equal(vfio_machine_add_model(f->machine, &slow_model), 0);
	fixture_add(f, "slow");
	fixture_open(f);
	config_put(f, PCI_COMMAND, 2, COMMAND_ON);
}

struct reader {
	struct fixture *f;
	pthread_t thread;
	ssize_t ret;
	uint64_t value;
	bool mapped;
};

static void *read_it(void *arg)
{
	struct reader *r = arg;

	r->ret = r->mapped ? vfio_device_load(r->f->df, VFIO_REGION_OFFSET(0), 4, &r->value)
			   : vfio_device_read(r->f->df, VFIO_REGION_OFFSET(0), &r->value, 4);
	return NULL;
}

/* Returns when the model knows. */
static void begin(struct reader *r, struct fixture *f, bool mapped)
{
	*r = (struct reader){.f = f, .mapped = mapped};
	assert_int_equal(pthread_create(&r->thread, NULL, read_it, r), 0);
	assert_int_equal(sem_wait(&slow.starts), 0);
}

static void end(struct reader *r)
{
	assert_int_equal(pthread_join(r->thread, NULL), 0);
}

static void test_at_once(void **state)
{
	struct fixture f;

	up(&f);
	slow.at_once = true;
	slow.value = 7;
	assert_int_equal(bar_get(&f, 0, 0, 4), 7);
	assert_int_equal(bar_get(&f, 0, 0, 2), 7);
	assert_int_equal(slow.started, 2);
	/* A write is not a read, and other registers are as ever. */
	bar_put(&f, 0, 0, 4, 1);
	assert_int_equal(bar_get(&f, 0, 8, 8), 0);
	assert_int_equal(slow.started, 2);
	fixture_close(&f);
}

static void test_waits(void **state)
{
	for (int mapped = 0; mapped < 2; mapped++) {
		uint32_t value;
		struct reader r;
		struct fixture f;

		up(&f);
		begin(&r, &f, mapped);
		/* Meanwhile the device can be used, and who does not wait is told to come later. */
		bar_put(&f, 0, 8, 8, 0x1234);
		assert_int_equal(bar_get(&f, 0, 8, 8), 0x1234);
		assert_int_equal(vfio_device_read_nowait(f.df, VFIO_REGION_OFFSET(0), &value, 4),
				 -EAGAIN);
		assert_int_equal(slow.started, 1);
		slow.value = 42;
		uvfio_reg_read_ready(slow.dev, 1);
		end(&r);
		assert_int_equal(r.ret, mapped ? 0 : 4);
		assert_int_equal(r.value, 42);
		fixture_close(&f);
	}
}

/* A ticket lets those go on that have it or an earlier one. */
static void test_tickets(void **state)
{
	struct reader first, second, third;
	struct fixture f;

	up(&f);
	begin(&first, &f, false);
	begin(&second, &f, false);
	begin(&third, &f, false);
	assert_int_equal(slow.started, 3);
	slow.value = 1;
	uvfio_reg_read_ready(slow.dev, 2);
	end(&first);
	end(&second);
	/* An older one takes nothing back. */
	uvfio_reg_read_ready(slow.dev, 1);
	slow.value = 2;
	uvfio_reg_read_ready(slow.dev, 3);
	end(&third);
	assert_int_equal(first.value, 1);
	assert_int_equal(second.value, 1);
	assert_int_equal(third.value, 2);
	fixture_close(&f);
}

static void test_reset(void **state)
{
	struct reader r;
	struct fixture f;

	up(&f);
	begin(&r, &f, false);
	slow.value = 9;
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	end(&r);
	assert_int_equal(r.ret, 4);
	assert_int_equal(r.value, 9);
	fixture_close(&f);
}

/* What was true when it began to wait is looked at again. */
static void test_memory_off(void **state)
{
	struct reader r;
	struct fixture f;

	up(&f);
	begin(&r, &f, false);
	config_put(&f, PCI_COMMAND, 2, 0);
	uvfio_reg_read_ready(slow.dev, slow.started);
	end(&r);
	assert_int_equal(r.ret, -EIO);
	fixture_close(&f);
}

/* Who polls has no loads trapped, so the BAR is not to be mapped there. */
static void test_not_polled(void **state)
{
	bool writable, trap_reads;
	struct fixture f;

	up(&f);
	assert_int_equal(
		vfio_device_mmap(f.df, VFIO_REGION_OFFSET(0), 4096, true, &writable, &trap_reads),
		0);
	assert_true(trap_reads);
	fixture_close(&f);
	up(&f);
	assert_int_equal(vfio_device_file_set_mmio(f.df, VFIO_MMIO_POLLED), 0);
	assert_int_equal(
		vfio_device_mmap(f.df, VFIO_REGION_OFFSET(0), 4096, true, &writable, &trap_reads),
		-EINVAL);
	fixture_close(&f);
}

/* A model is quiet when it goes, also when there was no last reset. */
static void test_goes_quiet(void **state)
{
	struct fixture f;

	up(&f);
	fixture_close(&f);
	assert_false(slow.destroyed_loud);
	fixture_machine(&f);
	assert_int_equal(vfio_machine_add_model(f.machine, &slow_model), 0);
	fixture_add(&f, "slow");
	fixture_close(&f); /* never opened */
	assert_false(slow.destroyed_loud);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_at_once),    cmocka_unit_test(test_waits),
		cmocka_unit_test(test_tickets),    cmocka_unit_test(test_reset),
		cmocka_unit_test(test_memory_off), cmocka_unit_test(test_not_polled),
		cmocka_unit_test(test_goes_quiet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
