/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * E.5 over vfio-user: a client that connects to a device which was loaded here, and goes on with
 * it.
 */
#include "handover_util.h"

#define CONTINUE "{\"capabilities\":{\"continue\":true}}"
#define IOVA     0x100000ull
#define SIZE     65536u

/* The device of a client that had a register set, two messages of three, of which one is pending,
 * and its DMA on; or, without @open, of nobody. */
static void away(struct pair *p, bool open)
{
	int fds[3] = {eventfd(0, EFD_NONBLOCK), -1, eventfd(0, EFD_NONBLOCK)};

	pair_up(p);
	if (open) {
		client_enable(p->fd);
		client_put(p->fd, PCITEST_SCRATCH, 0x0123456789abcdef, 8);
		assert_int_equal(set_eventfds(p, VFIO_PCI_MSIX_IRQ_INDEX, TRIGGER, 0, fds, 1), 0);
		assert_int_equal(set_eventfds(p, VFIO_PCI_MSIX_IRQ_INDEX, TRIGGER, 2, &fds[2], 1),
				 0);
		client_put(p->fd, PCITEST_IRQ, 2, 4);
		handed_stop(p->from);
	} else {
		close(p->fd);
		handed_alone(p->from);
		handed_stop(p->from);
	}
	handed_load(p->to, p->from);
	handed_back(p->from);
	if (open)
		close(p->fd);
	close(fds[0]);
	close(fds[2]);
}

/* VERSION at the device's new place, with @json: does the answer say that it goes on? */
static bool back(struct pair *p, const char *json)
{
	const char *text = (const char *)p->r.payload + sizeof(struct vfio_user_version);

	p->fd = p->dma = client_of(p->to, 1, json, &p->r);
	return p->r.len > sizeof(struct vfio_user_version) &&
	       strstr(text, "\"continued\":true") != NULL;
}

static uint16_t command_of(struct pair *p)
{
	uint16_t command = 0;

	assert_int_equal(client_read(p->fd, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2),
			 0);
	return command;
}

static void as_it_was(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK), mem = memfd_create("memory", MFD_CLOEXEC);
	struct pair p;

	assert_true(mem >= 0 && !ftruncate(mem, SIZE));
	away(&p, true);
	assert_true(back(&p, CONTINUE));
	assert_int_equal(get64(&p, PCITEST_SCRATCH), 0x0123456789abcdef);
	/* No DMA and no messages before the client says so; what was pending stays. */
	assert_int_equal(command_of(&p) & (PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY),
			 PCI_COMMAND_MEMORY);
	assert_int_equal(client_get(p.fd, PCITEST_MSIX_PBA), 2);
	assert_int_equal(set_eventfds(&p, VFIO_PCI_MSIX_IRQ_INDEX, TRIGGER, 1, &fd, 1), 0);
	assert_int_equal(taken(fd), 0);
	assert_int_equal(client_map(p.fd, IOVA, SIZE, mem, 0), 0);
	client_enable(p.fd);
	assert_int_equal(taken(fd), 1);
	assert_int_equal(client_get(p.fd, PCITEST_MSIX_PBA), 0);
	assert_int_equal(dma(&p, IOVA, PCITEST_CMD_READ), 0);
	close(fd);
	close(mem);
	pair_down(&p);
}

/* Who does not ask for it finds a device that was reset, and nothing new in the answer. */
static void unless_it_asks(void **state)
{
	static const char *const json[] = {NULL, "{\"capabilities\":{}}",
					   "{\"capabilities\":{\"continue\":false}}"};
	struct pair p;

	for (unsigned i = 0; i < 3; i++) {
		away(&p, true);
		assert_false(back(&p, json[i]));
		assert_int_equal(get64(&p, PCITEST_SCRATCH), 0);
		assert_int_equal(client_get(p.fd, PCITEST_MSIX_PBA), 0);
		pair_down(&p);
	}
}

/* The next client, though it asks. */
static void once(void **state)
{
	struct pair p;

	for (unsigned asks = 0; asks < 2; asks++) {
		away(&p, true);
		assert_int_equal(back(&p, asks ? CONTINUE : NULL), asks);
		close(p.fd);
		handed_alone(p.to);
		assert_false(back(&p, CONTINUE));
		assert_int_equal(get64(&p, PCITEST_SCRATCH), 0);
		pair_down(&p);
	}
}

static void nobody_had_it(void **state)
{
	struct pair p;

	away(&p, false);
	assert_false(back(&p, CONTINUE));
	pair_down(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_it_was),
		cmocka_unit_test(unless_it_asks),
		cmocka_unit_test(once),
		cmocka_unit_test(nobody_had_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
