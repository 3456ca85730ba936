/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests while a reset or a removal is under way: those that only ask are answered as ever, and
 * accesses for threads that must not wait do not.
 */
#include <semaphore.h>
#include "vfio/observe.h"
#include "vfio_fixture.h"

/* The work context of the device stands still until the test lets it go on. */
struct standstill {
	struct uvfio_work work;
	sem_t stands, go;
};

static void stand_still(struct uvfio_work *work)
{
	struct standstill *s = (struct standstill *)work;

	sem_post(&s->stands);
	sem_wait(&s->go);
}

static struct uvfio_ctx *ctx_of(struct fixture *f)
{
	return uvfio_device_ctx((struct uvfio_device *)vfio_device_file_device(f->df));
}

static void *resetter(void *arg)
{
	struct fixture *f = arg;

	return (void *)(intptr_t)vfio_device_host_reset(vfio_device_file_device(f->df));
}

struct answers {
	struct vfio_device_info info;
	struct vfio_region_info region;
	struct vfio_irq_info irqs[VFIO_PCI_NUM_IRQS];
};

static void ask(struct fixture *f, struct answers *a)
{
	memset(a, 0, sizeof(*a));
	a->info.argsz = sizeof(a->info);
	assert_int_equal(dev_ioctl(f, VFIO_DEVICE_GET_INFO, &a->info), 0);
	a->region.argsz = sizeof(a->region);
	assert_int_equal(dev_ioctl(f, VFIO_DEVICE_GET_REGION_INFO, &a->region), 0);
	for (unsigned i = 0; i < VFIO_PCI_NUM_IRQS; i++) {
		a->irqs[i].argsz = sizeof(a->irqs[i]);
		a->irqs[i].index = i;
		dev_ioctl(f, VFIO_DEVICE_GET_IRQ_INFO, &a->irqs[i]);
	}
}

static void same_answers(struct fixture *f, const struct answers *before)
{
	struct answers now;

	ask(f, &now);
	assert_memory_equal(&now, before, sizeof(now));
}

#define CONFIG VFIO_REGION_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX)
#define BAR0   VFIO_REGION_OFFSET(0)

static void test_reset(void **state)
{
	struct standstill still = {.work = {.fn = stand_still}};
	struct vfio_device_stats before, after;
	struct vfio_bus_state bus;
	struct answers answers;
	struct fixture f;
	pthread_t thread;
	uint8_t buf[4096];
	uint32_t word = 7;
	void *ret;

	fixture_up(&f, "probe");
	ask(&f, &answers);
	assert_int_equal(vfio_device_write_nowait(f.df, BAR0 + REG_SCRATCH, &word, 4), 4);
	assert_int_equal(vfio_device_read_nowait(f.df, BAR0 + REG_SCRATCH, &word, 4), 4);
	assert_int_equal(word, 7);
	assert_int_equal(vfio_device_read_nowait(f.df, CONFIG, &word, 4), 4);

	sem_init(&still.stands, 0, 0);
	sem_init(&still.go, 0, 0);
	uvfio_ctx_post(ctx_of(&f), &still.work);
	sem_wait(&still.stands);
	vfio_device_stats(vfio_device_file_device(f.df), &before);
	assert_int_equal(pthread_create(&thread, NULL, resetter, &f), 0);
	do {
		sched_yield();
		vfio_device_bus_state(vfio_device_file_device(f.df), &bus);
	} while (!bus.resetting);

	same_answers(&f, &answers);
	assert_int_equal(vfio_device_read_nowait(f.df, BAR0 + REG_ID, &word, 4), -EAGAIN);
	assert_int_equal(vfio_device_write_nowait(f.df, BAR0 + REG_SCRATCH, &word, 4), -EAGAIN);
	assert_int_equal(vfio_device_read_nowait(f.df, CONFIG, &word, 4), -EAGAIN);
	assert_int_equal(vfio_device_write_nowait(f.df, CONFIG + PCI_CACHE_LINE_SIZE, &word, 1),
			 -EAGAIN);
	/* What is wrong is so at once. */
	assert_int_equal(vfio_device_read_nowait(f.df, BAR0 - 4096, &word, 4), -EINVAL);
	/* What was not done is not counted. */
	vfio_device_stats(vfio_device_file_device(f.df), &after);
	assert_int_equal(after.reads, before.reads + 1);
	assert_int_equal(after.writes, before.writes);
	/* The hidden table is not the device's: as far as that goes. */
	memset(buf, 0, sizeof(buf));
	assert_in_range(vfio_device_read_nowait(f.df, BAR0 + REG_TABLE, buf, sizeof(buf)), 16,
			sizeof(buf) - 1);
	assert_int_equal(buf[0], 0xff);

	sem_post(&still.go);
	pthread_join(thread, &ret);
	assert_null(ret);
	assert_int_equal(vfio_device_read_nowait(f.df, BAR0 + REG_TABLE, buf, sizeof(buf)),
			 sizeof(buf));
	assert_int_equal(vfio_device_read_nowait(f.df, CONFIG, &word, 4), 4);
	same_answers(&f, &answers);
	sem_destroy(&still.stands);
	sem_destroy(&still.go);
	fixture_close(&f);
}

/* Somebody who must not wait, and others who reset the device and change its interrupts. */
struct storm {
	struct fixture *f;
	const struct answers *answers;
	atomic_bool stop;
	atomic_uint turns;
};

static void *impatient(void *arg)
{
	struct storm *s = arg;
	uint64_t value;

	while (!s->stop) {
		ssize_t n;

		same_answers(s->f, s->answers);
		n = vfio_device_read_nowait(s->f->df, BAR0 + REG_ID, &value, 8);
		assert_true(n == 8 || n == -EAGAIN || n == -EIO);
		n = vfio_device_write_nowait(s->f->df, BAR0 + REG_SCRATCH, &value, 8);
		assert_true(n == 8 || n == -EAGAIN || n == -EIO);
		n = vfio_device_read_nowait(s->f->df, CONFIG, &value, 4);
		assert_true(n == 4 || n == -EAGAIN);
		s->turns++;
	}
	return NULL;
}

static void *trigger_changer(void *arg)
{
	struct storm *s = arg;
	struct vfio_irq_set none = {.argsz = sizeof(none),
				    .flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
				    .index = VFIO_PCI_MSIX_IRQ_INDEX};

	while (!s->stop)
		dev_ioctl(s->f, VFIO_DEVICE_SET_IRQS, &none);
	return NULL;
}

static void test_storm(void **state)
{
	struct storm s = {0};
	struct answers answers;
	pthread_t threads[2];
	struct fixture f;
	uint32_t word;

	fixture_up(&f, "probe");
	ask(&f, &answers);
	s.f = &f;
	s.answers = &answers;
	assert_int_equal(pthread_create(&threads[0], NULL, impatient, &s), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, trigger_changer, &s), 0);
	for (unsigned i = 0; i < 200 || s.turns < 200; i++)
		assert_int_equal(vfio_device_host_reset(vfio_device_file_device(f.df)), 0);
	/* Pulled out, in the middle of it. */
	assert_int_equal(vfio_machine_remove_device(f.machine, "0000:01:00.0", 0, NULL, NULL, NULL),
			 0);
	while (vfio_device_read(f.df, CONFIG, &word, 4) != 4 || word != UINT32_MAX)
		sched_yield();
	s.stop = true;
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	/* It still says what it was, and reads ones without waiting. */
	same_answers(&f, &answers);
	assert_int_equal(vfio_device_read_nowait(f.df, BAR0 + REG_ID, &word, 4), 4);
	assert_int_equal(word, UINT32_MAX);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_storm),
	};

	guarded_init();
	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
