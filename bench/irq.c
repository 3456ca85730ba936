/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an interrupt costs: a raise beside the bare eventfd write that it cannot do without, and
 * SET_IRQS for 2,048 vectors beside the system calls that taking and closing their eventfds needs.
 */
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uvfio/device.h>

#include "bench.h"
#include "irq/irq.h"

#define VECTORS 2048u
#define RAISES  20000u
#define ROUNDS  41u

struct client {
	int32_t fds[VECTORS];
};

static unsigned count(void *arg, unsigned index)
{
	return index == VFIO_PCI_MSIX_IRQ_INDEX ? VECTORS : 1;
}

static bool yes(void *arg)
{
	return true;
}

static void mode_changed(void *arg, int mode, unsigned vectors)
{
}

static const struct irq_ops ops = {
	.count = count,
	.is_pcie = yes,
	.power_d0 = yes,
	.mode_changed = mode_changed,
};

static int copy(void *client, void *dst, size_t len)
{
	memcpy(dst, ((struct client *)client)->fds, len);
	return 0;
}

static int get_eventfd(void *client, int32_t fd)
{
	return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

struct world {
	struct irq_set *set;
	struct client client;
};

static void drain(int fd)
{
	uint64_t value;

	if (read(fd, &value, sizeof(value)) != sizeof(value))
		abort();
}

static double bare_write(void *arg)
{
	struct world *w = arg;
	const uint64_t one = 1;
	uint64_t start = bench_ns();

	for (unsigned i = 0; i < RAISES; i++) {
		if (write(w->client.fds[0], &one, sizeof(one)) != sizeof(one))
			abort();
	}
	start = bench_ns() - start;
	drain(w->client.fds[0]);
	return (double)start / RAISES;
}

static double raise_vector(void *arg)
{
	struct world *w = arg;
	uint64_t start = bench_ns();

	for (unsigned i = 0; i < RAISES; i++)
		irq_raise(w->set, 0);
	start = bench_ns() - start;
	drain(w->client.fds[0]);
	return (double)start / RAISES;
}

static double raise_masked(void *arg)
{
	struct world *w = arg;
	uint64_t start;

	irq_set_gate(w->set, false);
	start = bench_ns();
	for (unsigned i = 0; i < RAISES; i++)
		irq_raise(w->set, 0);
	start = bench_ns() - start;
	irq_set_gate(w->set, true);
	drain(w->client.fds[0]);
	return (double)start / RAISES;
}

static int set_irqs(struct world *w, uint32_t flags, uint32_t n)
{
	struct vfio_irq_set hdr = {
		.argsz = sizeof(hdr) + n * 4,
		.flags = flags | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = VFIO_PCI_MSIX_IRQ_INDEX,
		.count = n,
	};

	return irq_set_irqs(w->set, &hdr, copy, get_eventfd, &w->client);
}

static double dup_and_close(void *arg)
{
	static int fds[VECTORS];
	struct world *w = arg;
	uint64_t start = bench_ns();

	for (unsigned i = 0; i < VECTORS; i++)
		fds[i] = get_eventfd(NULL, w->client.fds[i]);
	for (unsigned i = 0; i < VECTORS; i++)
		close(fds[i]);
	return (double)(bench_ns() - start) / 1000;
}

static double replace_all(void *arg)
{
	uint64_t start = bench_ns();

	if (set_irqs(arg, VFIO_IRQ_SET_DATA_EVENTFD, VECTORS))
		abort();
	return (double)(bench_ns() - start) / 1000;
}

static double replace_one(void *arg)
{
	uint64_t start = bench_ns();

	if (set_irqs(arg, VFIO_IRQ_SET_DATA_EVENTFD, 1))
		abort();
	return (double)(bench_ns() - start) / 1000;
}

int main(void)
{
	struct bench_case cases[] = {
		{"bare eventfd write", "ns", bare_write},
		{"raise a vector (limit 1.1 x)", "ns", raise_vector, .want = BENCH_AT_MOST},
		{"raise while it is held back", "ns", raise_masked},
		{"dup and close 2,048 eventfds", "us", dup_and_close},
		{"SET_IRQS, 2,048 eventfds (limit 2 x)", "us", replace_all, .want = BENCH_AT_MOST},
		{"SET_IRQS, 1 eventfd", "us", replace_one},
	};
	const unsigned n = sizeof(cases) / sizeof(cases[0]);
	struct rlimit limit;
	struct uvfio_error err;
	struct uvfio_loop *loop = uvfio_loop_new("bench", &err);
	struct uvfio_ctx *ctx = uvfio_ctx_new(loop);
	static struct world w;
	double(*v)[64] = calloc(n, sizeof(*v));
	int missed = 0;

	if (!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur < 3 * VECTORS) {
		limit.rlim_cur = limit.rlim_max < 3 * VECTORS ? limit.rlim_max : 3 * VECTORS;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	w.set = irq_set_new(&ops, NULL, ctx, VECTORS, true);
	if (!w.set || !v)
		abort();
	irq_set_gate(w.set, true);
	for (unsigned i = 0; i < VECTORS; i++) {
		w.client.fds[i] = eventfd(0, EFD_CLOEXEC);
		if (w.client.fds[i] < 0) {
			fprintf(stderr, "bench-irq needs %u file descriptors: raise ulimit -n\n",
				3 * VECTORS);
			return 77;
		}
	}
	if (set_irqs(&w, VFIO_IRQ_SET_DATA_EVENTFD, VECTORS))
		abort();

	/* The limits are measured in the same run. */
	for (unsigned r = 0; r < ROUNDS; r++)
		for (unsigned i = 0; i < n; i++)
			v[i][r] = (cases[i].arg = &w, cases[i].fn(&w));
	for (unsigned i = 0; i < n; i++)
		cases[i].median = bench_median(v[i], ROUNDS);
	cases[1].limit = 1.1 * cases[0].median;
	cases[4].limit = 2 * cases[3].median;
	printf("interrupts (medians of %u alternating runs)\n", ROUNDS);
	for (unsigned i = 0; i < n; i++)
		missed += bench_print(&cases[i]);
	irq_set_free(w.set);
	uvfio_ctx_free(ctx);
	uvfio_loop_free(loop);
	free(v);
	return missed ? 1 : 0;
}
