/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SET_IRQS of 2,048 eventfds, which takes nine messages, beside what it cannot do without: to
 * receive them, to look whether they are eventfds, and to close them.
 */
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/eventfd.h"
#include "vfio/vfio.h"
#include "wire/protocol.h"
#include "wire_cases.h"
#include "wire_model.h"

#define FDS 250u /* a message */

/* ---- bare ---- */

/* Those of the vectors before are closed when the new ones have been taken. */
static void take_and_close(int fd)
{
	static struct uvfio_eventfd_check check;
	static int held[VECTORS];
	static unsigned at;
	struct vfio_user_header hdr = {.flags = VFIO_USER_TYPE_REPLY, .size = sizeof(hdr)};
	int fds[FDS];
	unsigned n = talk_receive(fd, fds, FDS);

	if (!check.context)
		uvfio_eventfd_check_init(&check);
	for (unsigned i = 0; i < n; i++)
		hdr.error += !uvfio_eventfd_check(&check, fds[i]);
	pair_give(fd, &hdr, sizeof(hdr));
	for (unsigned i = 0; i < n; i++, at = (at + 1) % VECTORS) {
		if (held[at])
			close(held[at]);
		held[at] = fds[i];
	}
}

/* ---- */

/* ms for 2,048 eventfds */
static double set_irqs(void *arg)
{
	int fd = *(int *)arg, fds[VECTORS];
	uint64_t start;

	for (unsigned i = 0; i < VECTORS; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	start = bench_ns();
	for (unsigned i = 0; i < VECTORS; i += FDS) {
		unsigned n = VECTORS - i < FDS ? VECTORS - i : FDS;
		struct vfio_irq_set set = {sizeof(set),
					   VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
					   VFIO_PCI_MSIX_IRQ_INDEX, i, n};

		talk_ask(fd, VFIO_USER_DEVICE_SET_IRQS, &set, sizeof(set), fds + i, n, 0);
		talk_answered(fd, SPIN);
	}
	start = bench_ns() - start;
	for (unsigned i = 0; i < VECTORS; i++)
		close(fds[i]);
	return (double)start / 1e6;
}

int wire_irqs(const struct place *place)
{
	int one = talk_bare(take_and_close), fd = talk_attach(place), missed;

	missed = beside(&(struct bench_case){"bare: receive, check and close 2,048 eventfds", "ms",
					     set_irqs, &one, BENCH_INFO, 0, 0},
			&(struct bench_case){"SET_IRQS of 2,048 eventfds, 250 a message", "ms",
					     set_irqs, &fd, BENCH_AT_MOST, 3, 0},
			0);
	close(one);
	close(fd);
	return missed;
}
