/* SPDX-License-Identifier: BSD-3-Clause */
/* src/vfio/uio.c, host_map.c and unplug.c: who takes a device away, against those who use it. */
#include "vfio_fixture.h"
#include "vfio/host.h"
#include "vfio/inject.h"
#include "vfio/machine_private.h"
#include "vfio/observe.h"
#include "vfio/uio.h"

#define NAME    "0000:01:00.0"
#define WRITERS 8u

static void on_change(void *arg)
{
}

static void on_gone(void *arg, const char *name)
{
	eventfd_write(*(int *)arg, 1);
}

/* ---- a reset that is stuck ---- */

static void *unbind(void *arg)
{
	struct vfio_device *dev = arg;

	vfio_device_uio_unbind(dev);
	vfio_device_put(dev);
	return NULL;
}

/* While a device is unbound, and that waits for a reset, it is pulled out: this ends the reset. */
static void test_pulled_out_while_unbound(void **state)
{
	int gone = eventfd(0, EFD_CLOEXEC);
	struct vfio_device *dev;
	struct uvfio_error err;
	struct uio_file *file;
	struct fixture f;
	pthread_t thread;
	eventfd_t n;

	memset(&f, 0, sizeof(f));
	fixture_machine(&f);
	fixture_add(&f, "probe,driver=uio_pci_generic");
	dev = vfio_machine_get_device(f.machine, NAME);
	assert_int_equal(vfio_uio_open(dev, f.client, on_change, NULL, &file), 0);
	vfio_device_inject_stuck_resets(dev, 1, 3600000000000ull);
	assert_int_equal(pthread_create(&thread, NULL, unbind, dev), 0);
	while (!atomic_load(&dev->in_reset))
		sched_yield();
	assert_int_equal(vfio_machine_remove_device(f.machine, NAME, VFIO_REMOVE_SURPRISE, on_gone,
						    &gone, &err),
			 0);
	pthread_join(thread, NULL);
	assert_int_equal(eventfd_read(gone, &n), 0);
	vfio_uio_release(file);
	fixture_close(&f);
	close(gone);
}

/* ---- a client that never stops ---- */

struct writer {
	struct vfio_device_file *df;
	atomic_uint *started;
	pthread_t thread;
};

static void *write_on(void *arg)
{
	struct writer *w = arg;

	atomic_fetch_add(w->started, 1);
	while (vfio_device_store(w->df, VFIO_REGION_OFFSET(0) + REG_SCRATCH, 4, 1) != -EIO)
		;
	return NULL;
}

/* Who opens the device does not wait until those who have mapped it pause. */
static void test_stores_do_not_keep_it(void **state)
{
	struct writer writers[WRITERS];
	struct vfio_device_file *df;
	atomic_uint started = 0;
	struct vfio_device *dev;
	struct fixture f;
	int view;

	memset(&f, 0, sizeof(f));
	fixture_machine(&f);
	fixture_add(&f, "probe");
	dev = vfio_machine_get_device(f.machine, NAME);
	assert_int_equal(vfio_device_host_open(dev, VFIO_MMIO_EXACT, &df, &view), 0);
	for (unsigned i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){.df = df, .started = &started};
		assert_int_equal(pthread_create(&writers[i].thread, NULL, write_on, &writers[i]),
				 0);
	}
	while (atomic_load(&started) < WRITERS)
		sched_yield();
	fixture_open(&f);
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(writers[i].thread, NULL);
	close(view);
	vfio_device_release(df);
	vfio_device_put(dev);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pulled_out_while_unbound),
		cmocka_unit_test(test_stores_do_not_keep_it),
	};

	guarded_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
