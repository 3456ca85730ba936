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

#include "iommu/space_private.h"
#include "stress/mutant.h"

void __real_space_finish(struct iommu_space *s, struct iommu_detached *list);
void __wrap_space_finish(struct iommu_space *s, struct iommu_detached *list);

struct late {
	struct iommu_space *s;
	struct iommu_detached list;
};

static void *finish(void *arg)
{
	struct late *late = arg;

	__real_space_finish(late->s, &late->list);
	free(late);
	return NULL;
}

void __wrap_space_finish(struct iommu_space *s, struct iommu_detached *list)
{
	struct late *late = malloc(sizeof(*late));
	pthread_t thread;

	if (!late)
		abort();
	*late = (struct late){s, *list};
	list->head = 0;
	if (pthread_create(&thread, NULL, finish, late))
		finish(late);
	else
		pthread_detach(thread);
}

/* What it left behind is no matter. */
void mutant_ends(bool found)
{
	printf(found ? "the fault was found\n" : "the fault was not found\n");
	fflush(stdout);
	_exit(!found);
}
