/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Taking all VFs of a PF away: see unplug.c, whose removals these are, and sriov_private.h.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include "vfio/uio.h"
#include "vfio/unplug_private.h"

int removal_new(struct vfio_device *dev)
{
	dev->removal = calloc(1, sizeof(*dev->removal));
	return dev->removal ? 0 : -ENOMEM;
}

static void take_vf_locked(struct vfio_device *vf)
{
	struct sriov *sriov = vf->physfn->sriov;
	struct vfio_machine *machine = vf->machine;
	enum device_state state = atomic_load(&vf->state);
	struct removal *r;

	if (state >= DEVICE_ASKED) {
		/* It is on its way already, or loses its driver: then it leaves instead. */
		r = removal_find_locked(vf);
		if (r)
			r->leaves = true;
		return;
	}
	r = vf->removal;
	vf->removal = NULL;
	*r = (struct removal){.next = machine->removals,
			      .machine = machine,
			      .dev = vf,
			      .leaves = true,
			      .batch = true,
			      .surprise = sriov->surprise,
			      .cut_at = sriov->cut_at,
			      .ask_at = uvfio_now_ns()};
	machine->removals = r;
	device_set_state(vf, DEVICE_ASKED);
}

/* One that uio has goes without its users' leave. */
static void unbind_uio(struct vfio_device *pf)
{
	for (unsigned i = 0; i < vfio_device_num_vfs(pf); i++) {
		struct vfio_device *vf = vfio_device_get_vf(pf, i);

		while (vf && atomic_load(&vf->state) == DEVICE_UIO) {
			vfio_device_uio_unbind(vf);
			sched_yield(); /* to who is at it already */
		}
		if (vf)
			vfio_device_put(vf);
	}
}

void removal_take_vfs(struct vfio_device *pf)
{
	struct vfio_machine *machine = pf->machine;
	struct sriov *sriov = pf->sriov;
	struct removal *r;

	unbind_uio(pf);
	pthread_mutex_lock(&machine->lock);
	for (unsigned i = atomic_load(&sriov->num_vfs); i > 0; i--) {
		struct vfio_device *vf = atomic_load(&sriov->vfs[i - 1]);

		if (vf)
			take_vf_locked(vf);
	}
	pthread_cond_signal(&machine->removal_cond);
	while (sriov->live) {
		r = sriov->left;
		if (!r) {
			pthread_cond_wait(&machine->watch_cond, &machine->lock);
			continue;
		}
		sriov->left = r->next;
		pthread_mutex_unlock(&machine->lock);
		removal_finish(r);
		pthread_mutex_lock(&machine->lock);
	}
	pthread_mutex_unlock(&machine->lock);
}

void sriov_cut_locked(struct vfio_device *pf, uint64_t cut_at, bool surprise)
{
	struct sriov *sriov = pf->sriov;

	if (cut_at >= sriov->cut_at)
		return;
	sriov->cut_at = cut_at;
	sriov->surprise = surprise;
	for (struct removal *r = pf->machine->removals; r; r = r->next) {
		if (r->dev->physfn != pf || r->busy || r->cut_at <= cut_at ||
		    atomic_load(&r->dev->state) != DEVICE_ASKED)
			continue;
		r->cut_at = cut_at;
		r->surprise = surprise;
	}
	pthread_cond_signal(&pf->machine->removal_cond);
}
