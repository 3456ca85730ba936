/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An unmap that answers before the transfers that it found under way have ended.  The waiting, and
 * what follows it, is done a little later by another thread: so nothing is wrong but the moment of
 * the answer.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/thread.h"
#include "iommu/space_private.h"
#include "stress/mutant.h"

void __real_space_finish(struct iommu_space *s, struct iommu_detached *list);
void __wrap_space_finish(struct iommu_space *s, struct iommu_detached *list);

void __real_iommu_space_free(struct iommu_space *s);
void __wrap_iommu_space_free(struct iommu_space *s);

static struct {
	pthread_mutex_t lock;
	pthread_cond_t less;
	unsigned nr; /* that are still to be finished */
} late_ones = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};

struct late {
	struct iommu_space *s;
	struct iommu_detached list;
};

static void *finish(void *arg)
{
	struct late *late = arg;

	__real_space_finish(late->s, &late->list);
	free(late);
	pthread_mutex_lock(&late_ones.lock);
	if (!--late_ones.nr)
		pthread_cond_broadcast(&late_ones.less);
	pthread_mutex_unlock(&late_ones.lock);
	return NULL;
}

void __wrap_space_finish(struct iommu_space *s, struct iommu_detached *list)
{
	struct late *late = malloc(sizeof(*late));

	if (!late)
		abort();
	*late = (struct late){s, *list};
	list->head = 0;
	pthread_mutex_lock(&late_ones.lock);
	late_ones.nr++;
	pthread_mutex_unlock(&late_ones.lock);
	/* From the beginning: the end may come before this thread could detach it. */
	if (uvfio_thread_detached(0, finish, late))
		finish(late);
}

/* The end of a space is not what is wrong. */
void __wrap_iommu_space_free(struct iommu_space *s)
{
	pthread_mutex_lock(&late_ones.lock);
	while (late_ones.nr)
		pthread_cond_wait(&late_ones.less, &late_ones.lock);
	pthread_mutex_unlock(&late_ones.lock);
	__real_iommu_space_free(s);
}

/* What it left behind is no matter. */
void mutant_ends(bool found)
{
	printf(found ? "the fault was found\n" : "the fault was not found\n");
	fflush(stdout);
	_exit(!found);
}
