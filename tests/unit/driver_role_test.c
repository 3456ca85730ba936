/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver side over vfio-user: of several threads that wait for replies one reads them; when it
 * has its own, another one does, and not one that is still about to send.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <uvfio/driver.h>

#include "driver_fixture.h"

#define CALLS 3u  /* the first of which ends, and comes again */
#define PLACE 64u /* numbers of calls are their places, modulo this */

static struct vfio_user_header asked[CALLS];
static unsigned nr_asked;
static atomic_uint ended;
static atomic_int filler, again; /* threads that are about to send in vain */
static sem_t answered, all_sent;

static bool sleeps(atomic_int *tid)
{
	char path[64], text[256] = "";
	FILE *file;

	if (!atomic_load(tid))
		return false;
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", atomic_load(tid));
	file = fopen(path, "r");
	if (file) {
		(void)!fgets(text, sizeof(text), file);
		fclose(file);
	}
	return strstr(text, ") S ");
}

static void reply(struct server *s, unsigned place)
{
	struct {
		uint64_t offset;
		uint32_t region, count;
		uint32_t value;
	} __attribute__((packed)) r = {.offset = 0x400, .count = 4, .value = 7};

	for (unsigned i = 0; i < CALLS; i++)
		if (asked[i].id % PLACE == place)
			server_reply(s, &asked[i], &r, sizeof(r), NULL, 0);
}

/* In the server's thread, which reads nothing meanwhile. */
static bool hold_replies(struct server *s, const struct vfio_user_header *h, uint8_t *payload,
			 int *fds, unsigned nr_fds)
{
	uint64_t offset;

	memcpy(&offset, payload, 8);
	if (h->command != VFIO_USER_REGION_READ || offset != 0x400 || nr_asked == CALLS)
		return false;
	asked[nr_asked++] = *h;
	if (nr_asked < CALLS)
		return true;
	sem_post(&all_sent);
	while (!sleeps(&filler))
		sched_yield();
	reply(s, 0);
	while (!sleeps(&again))
		sched_yield();
	reply(s, 1);
	sem_wait(&answered);
	reply(s, 2);
	sem_wait(&answered);
	return true;
}

static void *ask(void *arg)
{
	uint64_t value = 0;

	assert_int_equal(uvfio_pci_reg_read(arg, 0, 0x400, 4, &value), 0);
	assert_int_equal(value, 7);
	if (atomic_fetch_add(&ended, 1)) {
		sem_post(&answered);
		return NULL;
	}
	atomic_store(&again, (int)syscall(SYS_gettid));
	assert_int_equal(uvfio_pci_reg_read(arg, 0, 0x408, 4, &value), 0);
	return NULL;
}

/* Posted writes, until the server has read again. */
static void *fill(void *arg)
{
	atomic_store(&filler, (int)syscall(SYS_gettid));
	while (atomic_load(&ended) < CALLS)
		uvfio_pci_write64(arg, 0, 0x410, 1);
	return NULL;
}

static void test_role(void **state)
{
	pthread_t threads[CALLS + 1];
	struct uvfio_pci *dev;

	sem_init(&answered, 0, 0);
	sem_init(&all_sent, 0, 0);
	server.hook = hold_replies;
	server_start(&server);
	assert_int_equal(uvfio_pci_open(name, NULL, &dev, NULL), 0);
	for (unsigned t = 0; t < CALLS; t++)
		assert_int_equal(pthread_create(&threads[t], NULL, ask, dev), 0);
	sem_wait(&all_sent);
	assert_int_equal(pthread_create(&threads[CALLS], NULL, fill, dev), 0);
	for (unsigned t = 0; t <= CALLS; t++)
		pthread_join(threads[t], NULL);
	uvfio_pci_close(dev);
	server_stop(&server);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {T(test_role)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
