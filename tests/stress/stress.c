/* SPDX-License-Identifier: BSD-3-Clause */
/* What all have in common, start and end: stress.h. */
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "stress/stress.h"

#define BAD_SHOWN 20u

void stress_bad(struct stress *s, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	if (s->bad++ >= BAD_SHOWN)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	printf("BAD %s\n", text);
	fflush(stdout);
}

uint64_t stress_random(uint64_t *seed)
{
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return *seed * 0x2545F4914F6CDD1Dull >> 20;
}

size_t stress_other(const void *p, uint8_t byte, size_t len)
{
	const uint8_t *b = p;
	size_t i = 0;

	/* Its first byte is right, and each is as the one before. */
	if (!len || (b[0] == byte && !memcmp(b, b + 1, len - 1)))
		return len;
	while (b[i] == byte && i < len - 1)
		i++;
	return i;
}

size_t stress_find(const void *p, uint8_t byte, size_t len)
{
	const uint8_t *found = memchr(p, byte, len);

	return found ? (size_t)(found - (const uint8_t *)p) : len;
}

int stress_new(struct stress *s, uint64_t seed, bool cut)
{
	struct uvfio_error err;

	memset(s, 0, sizeof(*s));
	s->seed = seed * 0x9E3779B97F4A7C15ull + 1;
	s->cut = cut;
	pthread_mutex_init(&s->peers.lock, NULL);
	if (uvfio_dma_space_new(&s->space, &err)) {
		fprintf(stderr, "stress: %s\n", err.msg);
		return 1;
	}
	return windows_new(s) ? 1 : 0;
}

int stress_start(struct stress *s)
{
	if (peers_start(s))
		return 1;
	for (unsigned i = 0; i < s->nr_engines; i++) {
		if (pthread_create(&s->engines[i].thread, NULL, engine_run, &s->engines[i]))
			return 1;
	}
	for (unsigned i = 0; i < MAPPERS; i++) {
		s->mappers[i].stress = s;
		s->mappers[i].seed = stress_random(&s->seed) | 1;
		if (pthread_create(&s->mappers[i].thread, NULL, mapper_run, &s->mappers[i]))
			return 1;
	}
	return 0;
}

void stress_end(struct stress *s)
{
	s->stop = true;
	for (unsigned i = 0; i < MAPPERS; i++)
		pthread_join(s->mappers[i].thread, NULL);
	for (unsigned i = 0; i < s->nr_engines; i++)
		pthread_join(s->engines[i].thread, NULL);
	peers_end(s);
	windows_end(s);
}

/* Has enough happened to say that nothing went wrong? */
static bool enough(const struct stress *s)
{
	for (unsigned i = 0; i < s->nr_engines; i++) {
		if (!s->engines[i].good || !s->engines[i].faults)
			return false;
	}
	return s->maps && s->unmaps && s->checks && (!s->peers.owner || s->peer_maps);
}

bool stress_wait(struct stress *s, unsigned nr, unsigned seconds)
{
	bool more = true;

	/* On a busy machine a second may be nothing. */
	for (unsigned n = 0; more && n < 10 * (seconds + STRESS_PATIENCE); n++) {
		more = n < 10 * seconds && !s->enough;
		poll(NULL, 0, 100);
		for (unsigned i = 0; i < nr; i++) {
			if (s[i].bad)
				return false;
			more |= !enough(&s[i]);
		}
	}
	return true;
}

int stress_finish(struct stress *s, const char *title)
{
	bool done = enough(s);

	for (unsigned i = 0; i < s->nr_engines; i++) {
		struct engine *e = &s->engines[i];

		printf("%s: %s: %llu batches, %llu transferred, %llu refused, %llu resets, %llu stops",
		       title, e->name, (unsigned long long)e->turns, (unsigned long long)e->good,
		       (unsigned long long)e->faults, (unsigned long long)e->resets,
		       (unsigned long long)e->stops);
		if (s->host_resets)
			printf(", reset by others %llu times", (unsigned long long)e->lost);
		if (s->peers.owner == e) {
			printf(", closed %llu times, %llu of them pulled out",
			       (unsigned long long)e->reopens, (unsigned long long)e->replaced);
			for (unsigned w = 0; w < NR_AWAYS; w++)
				printf(", %s %llu times", away_names[w],
				       (unsigned long long)e->away[w]);
		}
		printf("\n");
		engine_close(e);
	}
	printf("%s: %llu maps, %llu unmaps, %llu let go, %llu cut, %llu looked at, %llu bad\n",
	       title, (unsigned long long)s->maps, (unsigned long long)s->unmaps,
	       (unsigned long long)s->lets_go, (unsigned long long)s->cuts,
	       (unsigned long long)s->checks, (unsigned long long)s->bad);
	if (s->peers.owner) {
		printf("%s: device memory: %llu maps, %llu of them gone before they were unmapped\n",
		       title, (unsigned long long)s->peer_maps, (unsigned long long)s->peer_deaths);
	}
	uvfio_dma_space_free(s->space);
	if (!done)
		printf("%s: too little happened to say anything\n", title);
	return s->bad || !done;
}
