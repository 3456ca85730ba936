/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MSI-X vectors that the VFs of a PF share (B): see sriov.h and vectors.h.
 *
 * Theory of operation.  The pool says how many vectors each VF has; the sum never exceeds it, and
 * whoever has a VF has at least the minimum, so more VFs than that allows cannot be enabled.  A
 * VF's number is its irq_set's (irq_msix_resize()), from where Table Size, GET_IRQ_INFO, SET_IRQS,
 * raises and the table take it; it changes at once, whatever the VF is doing.
 *
 * Two may change a number: the host (sysfs: the VF has no driver), who asks the model, and the
 * model itself (a management command of the PF).  The model is asked without the pool's lock,
 * because it may hold locks of its own when it calls uvfio_vf_set_vectors().  Meanwhile the larger
 * one of what the VF has and of what it is to have is taken from the pool (@wanted).  Of the host's
 * several changes one is made after the other (@host).
 *
 * Whether a driver has the VF is asked twice: at first, where the rule has it, and when the change
 * is made, since one may have come while the model was asked.
 *
 * Locks: pool->host → machine->lock → pool->lock, which is a leaf but for irq_msix_resize() and
 * view_publish_vector().
 */
#include <errno.h>
#include <stdlib.h>
#include "vfio/machine_private.h"
#include "vfio/sriov_private.h"
#include "vfio/vectors.h"

struct share {
	struct vfio_device *vf; /* NULL: not made yet */
	uint16_t has, wanted;   /* @wanted: of a change that is being made, else 0 */
	bool there;
};

/* Of a PF; constant but for what is under @lock. */
struct vector_pool {
	unsigned total, min, max, nr_shares;
	pthread_mutex_t host; /* one change by the host at a time; the model is asked under it */
	pthread_mutex_t lock;
	unsigned nr_vfs; /* that were enabled */
	unsigned given;  /* what they hold */
	struct share shares[];
};

/* What the pool lacks because of @share. */
static unsigned held(const struct share *share)
{
	return share->wanted > share->has ? share->wanted : share->has;
}

/* As mlx5 has it: half of what one may have, so that there is something left to be given. */
static unsigned first_share(const struct vector_pool *pool, unsigned nr_vfs)
{
	unsigned n = pool->total / nr_vfs;

	if (n > pool->max / 2)
		n = pool->max / 2;
	return n > pool->min ? n : pool->min;
}

/* Lock held. */
static struct share *find(struct vector_pool *pool, unsigned index)
{
	return index < pool->nr_vfs && pool->shares[index].there ? &pool->shares[index] : NULL;
}

/* May @share have @n?  Lock held. */
static int check(const struct vector_pool *pool, const struct share *share, unsigned n)
{
	if (n < pool->min)
		return -EINVAL;
	if (n > pool->max)
		return -EOVERFLOW;
	return n > pool->total - (pool->given - held(share)) ? -ENOSPC : 0;
}

/* Lock held. */
static void take(struct vector_pool *pool, struct share *share, unsigned has, unsigned wanted)
{
	pool->given -= held(share);
	share->has = (uint16_t)has;
	share->wanted = (uint16_t)wanted;
	pool->given += held(share);
}

/* The VF has what its share says, from now on.  Lock held. */
static void put_into_effect(const struct share *share)
{
	struct vfio_device *vf = share->vf;
	unsigned before;

	if (!vf)
		return;
	before = irq_msix_vectors(vf->irqs);
	irq_msix_resize(vf->irqs, share->has);
	for (unsigned i = before < share->has ? before : share->has; i < before || i < share->has;
	     i++)
		view_publish_vector(vf, i);
}

/* ---- life ---- */

int vectors_init(struct vfio_device *dev, const struct uvfio_pci_desc *desc,
		 struct uvfio_error *err)
{
	const struct uvfio_sriov_desc *d = desc->sriov;
	struct vector_pool *pool;
	unsigned most, max;

	if (!d || !d->msix_pool)
		return 0;
	most = d->vf ? d->vf->msix_vectors : 0;
	max = d->msix_max ? d->msix_max : most;
	if (!most || max > most || d->msix_min > max || d->msix_min > d->msix_pool)
		return uvfio_error_set(
			err, -EINVAL,
			"model %s: a pool of %u vectors, %u to %u for each VF, whose table has %u: "
			"minimum <= maximum <= table, and minimum <= pool",
			dev->model->name, d->msix_pool, d->msix_min, max, most);
	pool = calloc(1, sizeof(*pool) + d->total_vfs * sizeof(pool->shares[0]));
	if (!pool)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	pool->total = d->msix_pool;
	pool->min = d->msix_min;
	pool->max = max;
	pool->nr_shares = d->total_vfs;
	pthread_mutex_init(&pool->host, NULL);
	pthread_mutex_init(&pool->lock, NULL);
	dev->pool = pool;
	return 0;
}

void vectors_fini(struct vfio_device *dev)
{
	if (!dev->pool)
		return;
	pthread_mutex_destroy(&dev->pool->lock);
	pthread_mutex_destroy(&dev->pool->host);
	free(dev->pool);
	dev->pool = NULL;
}

int vectors_enable(struct vfio_device *pf, unsigned n, struct uvfio_error *err)
{
	struct vector_pool *pool = pf->pool;
	unsigned each;

	if (!pool || !n || n > pool->nr_shares)
		return 0;
	if (pool->min && n > pool->total / pool->min)
		return uvfio_error_set(err, -ENOSPC,
				       "%s: its pool of %u MSI-X vectors is too small for %u VFs, "
				       "which have at least %u each: enable at most %u",
				       pf->name, pool->total, n, pool->min,
				       pool->total / pool->min);
	each = first_share(pool, n);
	pthread_mutex_lock(&pool->lock);
	pool->nr_vfs = n;
	pool->given = n * each;
	for (unsigned i = 0; i < n; i++)
		pool->shares[i] = (struct share){.has = (uint16_t)each, .there = true};
	pthread_mutex_unlock(&pool->lock);
	return 0;
}

void vectors_disable(struct vfio_device *pf)
{
	struct vector_pool *pool = pf->pool;

	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->nr_vfs = 0;
	pool->given = 0;
	pthread_mutex_unlock(&pool->lock);
}

void vectors_join(struct vfio_device *vf)
{
	struct vector_pool *pool = vf->physfn->pool;
	struct share *share;

	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	share = find(pool, vf->vf_index);
	if (share) {
		share->vf = vf;
		put_into_effect(share);
	}
	pthread_mutex_unlock(&pool->lock);
}

void vectors_leave(struct vfio_device *vf)
{
	struct vector_pool *pool = vf->physfn ? vf->physfn->pool : NULL;
	struct share *share;

	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	share = find(pool, vf->vf_index);
	if (share && share->vf == vf) {
		take(pool, share, 0, 0);
		*share = (struct share){0};
	}
	pthread_mutex_unlock(&pool->lock);
}

/* ---- the host: sysfs ---- */

unsigned vfio_device_vf_total_msix(const struct vfio_device *pf)
{
	return pf->pool && vfio_device_driver(pf) == VFIO_DRIVER_MODEL ? pf->pool->total : 0;
}

/* As the kernel reads an int: minus nothing is a number. */
int vfio_parse_msix_count(const char *text, unsigned *n)
{
	bool minus = *text == '-';
	unsigned value;

	if (minus && *++text == '+')
		return -EINVAL;
	if (sriov_parse_number(text, INT32_MAX, &value) || (minus && value))
		return -EINVAL;
	*n = value;
	return 0;
}

/* Take *@n (0: the first share, which is put there) from the pool for @vf, beside what it has. */
static int reserve(struct vector_pool *pool, struct vfio_device *vf, unsigned *n)
{
	struct share *share;
	int ret = -ENODEV;

	pthread_mutex_lock(&pool->lock);
	share = find(pool, vf->vf_index);
	if (share && share->vf == vf) {
		if (!*n)
			*n = first_share(pool, pool->nr_vfs);
		ret = check(pool, share, *n);
	}
	if (!ret)
		take(pool, share, share->has, *n);
	pthread_mutex_unlock(&pool->lock);
	return ret;
}

/* @vf has what was reserved; or, if not @done, what it has: which is what is returned. */
static unsigned settle(struct vector_pool *pool, struct vfio_device *vf, bool done)
{
	struct share *share;
	unsigned has = 0;

	pthread_mutex_lock(&pool->lock);
	share = find(pool, vf->vf_index);
	if (share && share->vf == vf) {
		take(pool, share, done ? share->wanted : share->has, 0);
		put_into_effect(share);
		has = share->has;
	}
	pthread_mutex_unlock(&pool->lock);
	return has;
}

static int ask_model(struct vfio_device *vf, unsigned n)
{
	struct vfio_device *pf = vf->physfn;

	return pf->model->vf_vectors ? pf->model->vf_vectors(pf->priv, vf->vf_index, n) : 0;
}

/* pool->host held. */
static int change(struct vector_pool *pool, struct vfio_device *vf, unsigned n)
{
	bool bound;
	int ret;

	if (vfio_device_driver(vf) != VFIO_DRIVER_NONE)
		return -EBUSY;
	ret = reserve(pool, vf, &n);
	if (ret)
		return ret;
	ret = ask_model(vf, n);
	if (ret) {
		settle(pool, vf, false);
		return ret;
	}
	pthread_mutex_lock(&vf->machine->lock);
	bound = vfio_device_driver(vf) != VFIO_DRIVER_NONE;
	if (!bound)
		settle(pool, vf, true);
	pthread_mutex_unlock(&vf->machine->lock);
	if (!bound)
		return 0;
	ask_model(vf, settle(pool, vf, false));
	return -EBUSY;
}

int vfio_device_set_vf_msix_count(struct vfio_device *vf, unsigned n)
{
	struct vfio_device *pf = vf->physfn;
	int ret;

	if (!pf || !vfio_device_vf_total_msix(pf))
		return -EOPNOTSUPP;
	pthread_mutex_lock(&pf->pool->host);
	ret = change(pf->pool, vf, n);
	pthread_mutex_unlock(&pf->pool->host);
	return ret;
}

/* ---- the model ---- */

unsigned uvfio_vf_vectors(const struct uvfio_device *vf)
{
	return pci_msix_count(((const struct vfio_device *)vf)->func);
}

int uvfio_vf_set_vectors(struct uvfio_device *udev, unsigned index, unsigned n)
{
	struct vector_pool *pool = ((struct vfio_device *)udev)->pool;
	struct share *share;
	int ret = -EINVAL;

	if (!pool)
		return -EINVAL;
	pthread_mutex_lock(&pool->lock);
	share = find(pool, index);
	if (share)
		ret = check(pool, share, n);
	if (!ret) {
		take(pool, share, n, share->wanted);
		put_into_effect(share);
	}
	pthread_mutex_unlock(&pool->lock);
	return ret;
}
