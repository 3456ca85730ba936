/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How VFs are made, and what of their PF goes with the last one: see sriov_private.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "vfio/sriov_private.h"
#include "vfio/vectors.h"

/* Where they have been is free from then on. */
static void set_place(struct vfio_device *pf, unsigned bar, uint64_t first, uint64_t size)
{
	pthread_mutex_lock(&pf->machine->lock);
	pf->vf_bars[bar].first = first;
	pf->vf_bars[bar].end = first + size;
	pthread_mutex_unlock(&pf->machine->lock);
}

/* BAR @i of all VFs that there may be; one that has the room already stays. */
static int place_bar(struct vfio_device *pf, unsigned i, struct uvfio_error *err)
{
	uint64_t size = pci_sriov_bar_size(pf->func, i), all = size * pf->sriov->total, at;
	uint64_t first = pf->vf_bars[i].first, had = pf->vf_bars[i].end - first;
	int ret;

	if (all == had)
		return 0;
	set_place(pf, i, 0, 0);
	ret = bar_find_place(pf, i, pci_sriov_bar_flags(pf->func, i), all, size, &at, err);
	if (ret) {
		set_place(pf, i, first, had);
		return ret;
	}
	set_place(pf, i, at, all);
	pci_sriov_set_bar_address(pf->func, i, at);
	return 0;
}

int sriov_place_bars(struct vfio_device *pf, struct uvfio_error *err)
{
	int ret = 0;

	for (unsigned i = 0; i < NR_BARS && !ret; i++) {
		if (pci_sriov_bar_size(pf->func, i))
			ret = place_bar(pf, i, err);
	}
	return ret;
}

uint64_t vfio_device_vf_bar(struct vfio_device *pf, unsigned bar, uint64_t *size)
{
	uint64_t first;

	pthread_mutex_lock(&pf->machine->lock);
	first = pf->vf_bars[bar].first;
	*size = pf->vf_bars[bar].end - first;
	pthread_mutex_unlock(&pf->machine->lock);
	return first;
}

uint64_t sriov_bar_address(const struct vfio_device *vf, unsigned bar)
{
	const struct vfio_device *pf = vf->physfn;

	return pf->vf_bars[bar].first + vf->vf_index * vf->bars[bar].size;
}

/* Free those that were made, before anybody saw them. */
static void drop(struct vfio_device **vfs, unsigned n)
{
	for (unsigned i = n; i > 0; i--) {
		struct vfio_device *vf = vfs[i - 1];

		machine_put_loop(vf->machine, vf->loop);
		device_free(vf);
	}
}

static int make_each(struct vfio_device *pf, struct vfio_device **vfs, unsigned n,
		     struct uvfio_error *err)
{
	struct vfio_machine *machine = pf->machine;
	int ret = 0;

	for (unsigned i = 0; i < n && !ret; i++) {
		struct uvfio_loop *loop = machine_choose_loop(machine, err);

		ret = loop ? device_new_vf(pf, i, loop, &vfs[i], err) : -ENOMEM;
		if (ret && loop)
			machine_put_loop(machine, loop);
		if (ret)
			drop(vfs, i);
	}
	return ret;
}

/* All or none.  machine->lock held. */
static int let_in_locked(struct vfio_device *pf, struct vfio_device **vfs, unsigned n)
{
	struct vfio_machine *machine = pf->machine;
	/* vfio-pci overrides the driver of its VFs, which is bound whatever autoprobe says
	 * (C.4.13). */
	bool bind =
		atomic_load(&pf->sriov->autoprobe) || vfio_device_driver(pf) == VFIO_DRIVER_VFIO;
	int ret = machine_room_locked(machine, n);

	for (unsigned i = 0; i < n && !ret; i++) {
		unsigned group =
			pf->acs_off ? pf->group->number : machine_next_group_locked(machine);

		ret = machine_attach_locked(machine, vfs[i], group, pf->group->noiommu);
		if (!ret)
			device_set_state(vfs[i], bind ? DEVICE_PRESENT : DEVICE_UNBOUND);
		else
			while (i)
				machine_detach_locked(vfs[--i]);
	}
	return ret;
}

static int let_in(struct vfio_device *pf, struct vfio_device **vfs, unsigned n,
		  struct uvfio_error *err)
{
	struct vfio_machine *machine = pf->machine;
	struct sriov *sriov = pf->sriov;
	_Atomic(struct vfio_device *) *list = calloc(n, sizeof(*list));
	int ret = -ENOMEM;

	if (!list)
		return uvfio_error_set(err, ret, "out of memory");
	for (unsigned i = 0; i < n; i++)
		atomic_init(&list[i], vfs[i]);
	pthread_rwlock_wrlock(&sriov->alive);
	free(sriov->vfs);
	sriov->vfs = list;
	pthread_rwlock_unlock(&sriov->alive);
	pthread_mutex_lock(&machine->lock);
	ret = let_in_locked(pf, vfs, n);
	if (!ret) {
		sriov->live = n;
		atomic_store(&sriov->num_vfs, n);
		machine_changed_locked(machine);
	}
	pthread_mutex_unlock(&machine->lock);
	if (ret)
		uvfio_error_set(err, ret, "%s",
				ret == -ENOSPC ? "too many devices" : "out of memory");
	return ret;
}

/* The PF in D0, where it stays (C), and its VFs answer. */
static int enable(struct vfio_device *pf, unsigned n, struct uvfio_error *err)
{
	int ret = 0;

	/* One that sleeps (A.10) is woken, and is not to sleep again. */
	device_access_begin(pf);
	pthread_mutex_lock(&pf->config_lock);
	if (device_moves(pf))
		ret = uvfio_error_set(err, -EBUSY, "%s is being moved: wait until it runs again",
				      pf->name);
	if (!ret)
		device_power(pf, 0);
	/* BARs may have been resized. */
	if (!ret)
		ret = sriov_place_bars(pf, err);
	if (!ret) {
		ret = pci_sriov_enable(pf->func, n);
		if (ret)
			uvfio_error_set(err, ret, "the function does not enable %u VFs", n);
	}
	device_apply(pf);
	pthread_mutex_unlock(&pf->config_lock);
	device_access_end(pf);
	return ret;
}

static void disable(struct vfio_device *pf)
{
	device_access_begin(pf);
	pthread_mutex_lock(&pf->config_lock);
	pci_sriov_disable(pf->func);
	device_apply(pf);
	pthread_mutex_unlock(&pf->config_lock);
	device_access_end(pf);
	if (pf->model->vfs_stop)
		pf->model->vfs_stop(pf->priv);
	vectors_disable(pf);
}

/* Their vectors, and the model. */
static int start(struct vfio_device *pf, unsigned n, struct uvfio_error *err)
{
	int ret = vectors_enable(pf, n, err);

	if (ret || !pf->model->vfs_start)
		return ret;
	ret = pf->model->vfs_start(pf->priv, n, err);
	if (ret)
		vectors_disable(pf);
	return ret;
}

int sriov_make(struct vfio_device *pf, unsigned n, struct uvfio_error *err)
{
	struct vfio_device **vfs = calloc(n, sizeof(struct vfio_device *));
	int ret;

	if (!vfs)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	ret = start(pf, n, err);
	if (ret) {
		free(vfs);
		return ret;
	}
	ret = enable(pf, n, err);
	if (!ret)
		ret = make_each(pf, vfs, n, err);
	if (!ret) {
		ret = let_in(pf, vfs, n, err);
		if (ret)
			drop(vfs, n);
	}
	if (ret)
		disable(pf);
	else
		uvfio_log(pf->machine->log, UVFIO_LOG_INFO, "%s: %u VFs", pf->name, n);
	free(vfs);
	return ret;
}

void sriov_unmake(struct vfio_device *pf)
{
	struct sriov *sriov = pf->sriov;

	pthread_mutex_lock(&pf->machine->lock);
	atomic_store(&sriov->num_vfs, 0);
	pthread_mutex_unlock(&pf->machine->lock);
	disable(pf);
	uvfio_log(pf->machine->log, UVFIO_LOG_INFO, "%s: no VFs any more", pf->name);
}
