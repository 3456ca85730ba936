/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts cost on which everything stands: contexts, guarded copies, brackets. */
#include <semaphore.h>
#include "base/ctx.h"
#include "base/guard.h"
#include "base/rcu.h"
#include "base/stall.h"
#include "bench.h"

#define ROUNDS 9

struct world {
	struct uvfio_work work;
	struct uvfio_ctx *ctx;
	sem_t sem;
	char *from, *to;
};

static void nothing(struct uvfio_work *work)
{
}

static void answer(struct uvfio_work *work)
{
	sem_post(&((struct world *)work)->sem);
}

static double bracket(void *arg)
{
	struct world *w = arg;
	uint64_t start = bench_ns();

	w->work.fn = nothing;
	for (unsigned i = 0; i < 1000000; i++) {
		uvfio_defer_begin();
		uvfio_ctx_post(w->ctx, &w->work);
		uvfio_defer_end();
	}
	return (bench_ns() - start) / 1e6;
}

static double round_trip(void *arg)
{
	struct world *w = arg;
	uint64_t start = bench_ns();

	w->work.fn = answer;
	for (unsigned i = 0; i < 5000; i++) {
		uvfio_ctx_post(w->ctx, &w->work);
		while (sem_wait(&w->sem))
			;
	}
	return (bench_ns() - start) / 5e3;
}

static double stall(void *arg)
{
	uint64_t start = bench_ns();

	for (unsigned i = 0; i < 5000000; i++) {
		uvfio_stall_enter();
		uvfio_stall_leave();
	}
	return (bench_ns() - start) / 5e6;
}

static double rcu(void *arg)
{
	uint64_t start = bench_ns();

	for (unsigned i = 0; i < 10000000; i++) {
		uvfio_rcu_read_lock();
		uvfio_rcu_read_unlock();
	}
	return (bench_ns() - start) / 1e7;
}

static double plain_copy(void *arg)
{
	struct world *w = arg;
	uint64_t start = bench_ns();

	for (unsigned i = 0; i < 1000000; i++) {
		memcpy(w->to, w->from, 4096);
		bench_keep(w->to);
	}
	return (bench_ns() - start) / 1e6;
}

static double guarded_copy(void *arg)
{
	struct world *w = arg;
	uint64_t start = bench_ns();

	for (unsigned i = 0; i < 1000000; i++)
		uvfio_guard_copy(w->to, w->from, 4096);
	return (bench_ns() - start) / 1e6;
}

static double guarded_small(void *arg)
{
	struct world *w = arg;
	uint64_t start = bench_ns();

	for (unsigned i = 0; i < 5000000; i++)
		uvfio_guard_copy(w->to, w->from, 64);
	return (bench_ns() - start) / 5e6;
}

int main(void)
{
	struct uvfio_loop *loop = uvfio_loop_new("bench", NULL);
	struct world w = {.ctx = loop ? uvfio_ctx_new(loop) : NULL};
	struct bench_case cases[] = {
		{"post and run in a bracket", "ns", bracket, &w},
		{"post to an idle loop and hear from it", "ns", round_trip, &w},
		{"stall guard around a call", "ns", stall, &w},
		{"RCU read section", "ns", rcu, &w},
		{"memcpy of 4 KiB", "ns", plain_copy, &w},
		{"guarded copy of 4 KiB", "ns", guarded_copy, &w},
		{"guarded copy of 64 bytes", "ns", guarded_small, &w},
	};
	int missed;

	w.from = aligned_alloc(4096, 4096);
	w.to = aligned_alloc(4096, 4096);
	if (!w.ctx || !w.from || !w.to || uvfio_guard_init())
		abort();
	memset(w.from, 1, 4096);
	memset(w.to, 1, 4096);
	sem_init(&w.sem, 0, 0);
	missed = bench_run("base", cases, sizeof(cases) / sizeof(cases[0]), ROUNDS);
	uvfio_ctx_flush(w.ctx);
	uvfio_ctx_free(w.ctx);
	uvfio_loop_free(loop);
	free(w.from);
	free(w.to);
	return missed ? 1 : 0;
}
