/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SR-IOV, the machine's side: see sriov.h, and sriov_private.h for states and locks.  How a VF is
 * made is in sriov_make.c.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/thread.h"
#include "vfio/sriov_private.h"

/* More than that wait for one PF: they are refused. */
#define MAX_CHANGES 4096u

struct sriov_change {
	struct sriov_change *next;
	unsigned n;
	bool leave; /* whatever driver there is; else as C has it */
	void (*done)(void *arg, int result);
	void (*gone)(void *arg);
	void *arg;
};

static const char *const state_names[] = {
	[SRIOV_OFF] = "off",
	[SRIOV_MAKING] = "making",
	[SRIOV_ON] = "on",
	[SRIOV_TAKING] = "taking",
};
static_assert(ARRAY_SIZE(state_names) == NR_SRIOV_STATES, "a name each");

/* machine->lock held. */
static void set_state(struct sriov *sriov, enum sriov_state state)
{
	uvfio_log(sriov->pf->machine->log, UVFIO_LOG_DEBUG, "%s: VFs: %s → %s", sriov->pf->name,
		  state_names[sriov->state], state_names[state]);
	sriov->state = state;
}

/* ---- addresses ---- */

static unsigned rid_of(const struct pci_addr *addr)
{
	return (unsigned)addr->bus << 8 | (unsigned)addr->dev << 3 | addr->fn;
}

struct vfio_device *sriov_reserves_locked(struct vfio_machine *machine, const struct pci_addr *addr,
					  bool whole_bus)
{
	unsigned first = rid_of(addr), last = first;

	if (whole_bus) {
		first = (unsigned)addr->bus << 8;
		last = first | 0xff;
	}
	for (unsigned i = 0; i < machine->nr_devices; i++) {
		struct vfio_device *dev = machine->devices[i];

		if (dev->sriov && dev->addr.domain == addr->domain &&
		    dev->sriov->first_rid <= last && first <= dev->sriov->last_rid)
			return dev;
	}
	return NULL;
}

/* Who has an address in [@first, @last] of @domain, or reserves one: its name, or NULL.
 * machine->lock held. */
static const char *in_the_way(struct vfio_machine *machine, unsigned domain, unsigned first,
			      unsigned last)
{
	for (unsigned i = 0; i < machine->nr_devices; i++) {
		const struct vfio_device *dev = machine->devices[i];
		unsigned rid = rid_of(&dev->addr);

		if (dev->addr.domain != domain)
			continue;
		if (rid >= first && rid <= last)
			return dev->name;
		if (dev->sriov && dev->sriov->first_rid <= last && first <= dev->sriov->last_rid)
			return dev->name;
	}
	return NULL;
}

/* Move @dev, which nobody knows yet, to the next bus from which on there is room for its VFs. */
static int settle(struct vfio_device *dev, struct sriov *sriov, unsigned offset, unsigned stride,
		  struct uvfio_error *err)
{
	struct vfio_machine *machine = dev->machine;
	const char *other;
	int ret = 0;

	pthread_mutex_lock(&machine->lock);
	for (;;) {
		sriov->first_rid = rid_of(&dev->addr) + offset;
		sriov->last_rid = sriov->first_rid + stride * (sriov->total - 1);
		if (sriov->last_rid <= UINT16_MAX) {
			other = in_the_way(machine, dev->addr.domain, sriov->first_rid,
					   sriov->last_rid);
			if (!other)
				break;
			if (!dev->addr_auto) {
				ret = uvfio_error_set(
					err, -EINVAL,
					"%s: %s has an address that is needed for its %u VFs; "
					"choose another addr=, or leave it out",
					dev->name, other, sriov->total);
				break;
			}
		} else if (!dev->addr_auto || !dev->addr.bus || dev->addr.bus == 1) {
			ret = uvfio_error_set(
				err, -EINVAL,
				"%s: the addresses of %u VFs (first offset %u, stride "
				"%u) do not fit below bus 256; use a lower addr=, or "
				"fewer",
				dev->name, sriov->total, offset, stride);
			break;
		} else {
			/* The rest of the domain is too small. */
			machine->next_bus = ((unsigned)dev->addr.domain + 1) << 8;
		}
		machine_next_bus_locked(machine, &dev->addr);
		pci_addr_format(&dev->addr, dev->name);
	}
	if (!ret && dev->addr_auto)
		machine->next_bus = (unsigned)dev->addr.domain << 8 | ((sriov->last_rid >> 8) + 1);
	pthread_mutex_unlock(&machine->lock);
	return ret;
}

/* ---- making and unmaking what a PF has ---- */

int sriov_init(struct vfio_device *dev, const struct uvfio_pci_desc *desc, struct uvfio_error *err)
{
	const struct uvfio_sriov_desc *d = desc->sriov;
	unsigned offset, stride;
	struct sriov *sriov;

	if (!d)
		return 0;
	if (!dev->model->vf_create)
		return uvfio_error_set(err, -EINVAL,
				       "model %s: it describes VFs, and has no vf_create()",
				       dev->model->name);
	if (!d->total_vfs || d->total_vfs > VFIO_MAX_VFS || !d->vf)
		return uvfio_error_set(err, -EINVAL,
				       "model %s: %u VFs: 1 to %u, and a description of them",
				       dev->model->name, d->total_vfs, VFIO_MAX_VFS);
	sriov = calloc(1, sizeof(*sriov));
	if (!sriov)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	sriov->pf = dev;
	sriov->total = d->total_vfs;
	sriov->cut_at = UINT64_MAX;
	atomic_init(&sriov->autoprobe, true);
	pthread_mutex_init(&sriov->lock, NULL);
	pthread_rwlock_init(&sriov->alive, NULL);
	dev->sriov = sriov;
	offset = d->first_offset ? d->first_offset : 1;
	stride = d->stride ? d->stride : 1;
	return settle(dev, sriov, offset, stride, err);
}

void sriov_end(struct vfio_device *dev)
{
	if (vfio_device_num_vfs(dev) && dev->model->vfs_stop)
		dev->model->vfs_stop(dev->priv);
}

void sriov_fini(struct vfio_device *dev)
{
	struct sriov *sriov = dev->sriov;

	if (!sriov)
		return;
	free(sriov->vfs);
	pthread_rwlock_destroy(&sriov->alive);
	pthread_mutex_destroy(&sriov->lock);
	free(sriov);
	dev->sriov = NULL;
}

/* ---- what is there ---- */

bool vfio_device_is_pf(const struct vfio_device *dev)
{
	return dev->sriov;
}

struct vfio_device *vfio_device_physfn(const struct vfio_device *dev)
{
	return dev->physfn;
}

unsigned vfio_device_vf_index(const struct vfio_device *vf)
{
	return vf->vf_index;
}

unsigned vfio_device_total_vfs(const struct vfio_device *pf)
{
	return pf->sriov ? pf->sriov->total : 0;
}

unsigned vfio_device_num_vfs(const struct vfio_device *pf)
{
	return pf->sriov ? atomic_load(&pf->sriov->num_vfs) : 0;
}

struct vfio_device *vfio_device_get_vf(struct vfio_device *pf, unsigned index)
{
	struct vfio_device *vf = NULL;

	if (!pf->sriov)
		return NULL;
	pthread_mutex_lock(&pf->machine->lock);
	if (index < atomic_load(&pf->sriov->num_vfs))
		vf = atomic_load(&pf->sriov->vfs[index]);
	if (vf)
		vf->watchers++;
	pthread_mutex_unlock(&pf->machine->lock);
	return vf;
}

bool vfio_device_drivers_autoprobe(const struct vfio_device *pf)
{
	return pf->sriov && atomic_load(&pf->sriov->autoprobe);
}

void vfio_device_set_drivers_autoprobe(struct vfio_device *pf, bool on)
{
	if (pf->sriov)
		atomic_store(&pf->sriov->autoprobe, on);
}

/* ---- sriov_numvfs (C) ---- */

int sriov_parse_number(const char *text, unsigned long max, unsigned *n)
{
	unsigned long value;
	char *end;

	/* A number and no more: strtoul() alone would take blanks and minus signs. */
	if (*text == '+')
		text++;
	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	value = strtoul(text, &end, 0);
	if (*end == '\n')
		end++;
	if (errno || *end || value > max)
		return -EINVAL;
	*n = (unsigned)value;
	return 0;
}

int vfio_parse_numvfs(const char *text, unsigned *n)
{
	return sriov_parse_number(text, UINT16_MAX, n);
}

int sriov_check_locked(struct vfio_device *pf, unsigned n)
{
	struct vfio_machine *machine = pf->machine;
	const struct sriov *sriov = pf->sriov;
	unsigned now = atomic_load(&sriov->num_vfs);
	enum vfio_driver driver = vfio_device_driver(pf);

	if (n > sriov->total)
		return -ERANGE;
	if (n == now)
		return 0;
	if (driver == VFIO_DRIVER_NONE || driver == VFIO_DRIVER_UIO)
		return -ENOENT;
	if (n && now)
		return -EBUSY;
	/* What follows is the driver's. */
	if (driver == VFIO_DRIVER_VFIO && !machine->knobs.enable_sriov)
		return -ENOENT;
	return n && driver == VFIO_DRIVER_VFIO && sriov->by_vfio ? -EINVAL : 1;
}

static void take_all(struct vfio_device *pf)
{
	struct vfio_machine *machine = pf->machine;
	struct sriov *sriov = pf->sriov;

	pthread_mutex_lock(&machine->lock);
	set_state(sriov, SRIOV_TAKING);
	pthread_mutex_unlock(&machine->lock);
	removal_take_vfs(pf);
	pthread_mutex_lock(&sriov->lock);
	sriov_unmake(pf);
	pthread_mutex_unlock(&sriov->lock);
	pthread_mutex_lock(&machine->lock);
	set_state(sriov, SRIOV_OFF);
	vf_token_list(pf, false);
	sriov->by_vfio = false;
	pthread_mutex_unlock(&machine->lock);
}

/* add_lock held. */
static int make_all(struct vfio_device *pf, unsigned n, struct uvfio_error *err)
{
	struct vfio_machine *machine = pf->machine;
	struct sriov *sriov = pf->sriov;
	int ret;

	pthread_mutex_lock(&machine->lock);
	set_state(sriov, SRIOV_MAKING);
	sriov->by_vfio = vfio_device_driver(pf) == VFIO_DRIVER_VFIO;
	vf_token_list(pf, sriov->by_vfio);
	pthread_mutex_unlock(&machine->lock);
	atomic_fetch_add(&pf->host_resets, 1); /* who tries to reset it meanwhile finds it locked */
	device_access_begin(pf);
	pthread_mutex_lock(&sriov->lock);
	ret = sriov_make(pf, n, err);
	pthread_mutex_unlock(&sriov->lock);
	device_access_end(pf);
	atomic_fetch_sub(&pf->host_resets, 1);
	pthread_mutex_lock(&machine->lock);
	set_state(sriov, ret ? SRIOV_OFF : SRIOV_ON);
	if (ret) {
		vf_token_list(pf, false);
		sriov->by_vfio = false;
	}
	pthread_mutex_unlock(&machine->lock);
	return ret;
}

static int carry_out(struct vfio_device *pf, const struct sriov_change *change)
{
	struct vfio_machine *machine = pf->machine;
	struct uvfio_error err = {""};
	int ret;

	pthread_mutex_lock(&machine->lock);
	if (change->leave)
		ret = atomic_load(&pf->sriov->num_vfs) ? 1 : 0;
	else
		ret = pf->sriov->leaving ? -ENOENT : sriov_check_locked(pf, change->n);
	pthread_mutex_unlock(&machine->lock);
	if (ret != 1)
		return ret;
	if (!change->n) {
		take_all(pf);
		return 0;
	}
	pthread_mutex_lock(&machine->add_lock);
	ret = make_all(pf, change->n, &err);
	pthread_mutex_unlock(&machine->add_lock);
	if (ret)
		uvfio_log(machine->log, UVFIO_LOG_ERROR, "%s: no VFs: %s", pf->name, err.msg);
	return ret;
}

/* Until there are no changes.  The PF is held. */
static void *worker(void *arg)
{
	struct vfio_device *pf = arg;
	struct vfio_machine *machine = pf->machine;
	struct sriov *sriov = pf->sriov;
	struct sriov_change *change;

	pthread_mutex_lock(&machine->lock);
	while ((change = sriov->queue)) {
		int ret;

		sriov->queue = change->next;
		pthread_mutex_unlock(&machine->lock);
		ret = carry_out(pf, change);
		if (change->done)
			change->done(change->arg, ret);
		pthread_mutex_lock(&machine->lock);
		if (change->gone)
			change->gone(change->arg);
		free(change);
	}
	sriov->working = false;
	if (--pf->watchers == 0)
		pthread_cond_broadcast(&machine->watch_cond);
	machine->removal_threads--;
	pthread_cond_signal(&machine->removal_cond);
	pthread_mutex_unlock(&machine->lock);
	return NULL;
}

/* Put @change behind all others and see that there is a worker.  machine->lock held. */
static int queue_locked(struct vfio_device *pf, struct sriov_change *change)
{
	struct vfio_machine *machine = pf->machine;
	struct sriov_change **tail = &pf->sriov->queue;
	unsigned n = 0;
	int ret;

	for (; *tail; tail = &(*tail)->next)
		n++;
	if (n >= MAX_CHANGES && !change->leave)
		return -EAGAIN;
	if (!pf->sriov->working) {
		ret = unplug_start_locked(machine);
		if (!ret)
			ret = -uvfio_thread_detached(0, worker, pf);
		if (ret)
			return ret;
		pf->sriov->working = true;
		pf->watchers++;
		machine->removal_threads++;
	}
	*tail = change;
	return 0;
}

int vfio_device_set_numvfs(struct vfio_device *pf, unsigned n, void (*done)(void *arg, int result),
			   void *arg)
{
	struct vfio_machine *machine = pf->machine;
	struct sriov_change *change;
	int ret = 1;

	if (!pf->sriov)
		return -ENODEV;
	if (n > pf->sriov->total)
		return -ERANGE;
	change = calloc(1, sizeof(*change));
	if (!change)
		return -ENOMEM;
	*change = (struct sriov_change){.n = n, .done = done, .arg = arg};
	pthread_mutex_lock(&machine->lock);
	if (atomic_load(&pf->state) >= DEVICE_CUT || pf->sriov->leaving)
		ret = -ENODEV;
	else if (!pf->sriov->working)
		ret = sriov_check_locked(pf, n);
	if (ret >= 0)
		ret = queue_locked(pf, change);
	pthread_mutex_unlock(&machine->lock);
	if (ret)
		free(change);
	return ret;
}

int sriov_start(struct vfio_device *pf, unsigned n, struct uvfio_error *err)
{
	return n ? make_all(pf, n, err) : 0;
}

/* ---- the PF goes, or loses its driver ---- */

int sriov_leave_locked(struct vfio_device *pf, uint64_t cut_at, bool surprise,
		       void (*gone)(void *arg), void *arg)
{
	struct sriov *sriov = pf->sriov;
	struct sriov_change *change;
	int ret;

	if (!sriov)
		return 0;
	sriov->leaving = true;
	if (!sriov->working && sriov->state == SRIOV_OFF)
		return 0;
	change = calloc(1, sizeof(*change));
	if (!change)
		return -ENOMEM;
	*change = (struct sriov_change){.leave = true, .gone = gone, .arg = arg};
	ret = queue_locked(pf, change);
	if (ret) {
		free(change);
		sriov->leaving = false;
		return ret;
	}
	sriov_cut_locked(pf, cut_at, surprise);
	return 1;
}

void sriov_stay_locked(struct vfio_device *pf)
{
	if (!pf->sriov)
		return;
	pf->sriov->leaving = false;
	pf->sriov->cut_at = UINT64_MAX;
	pf->sriov->surprise = false;
}

void sriov_vf_left_locked(struct vfio_device *dev)
{
	if (dev->physfn)
		atomic_store(&dev->physfn->sriov->vfs[dev->vf_index], NULL);
}

void sriov_vf_freed_locked(struct vfio_device *pf)
{
	pf->sriov->live--;
	pthread_cond_broadcast(&pf->machine->watch_cond);
}

void sriov_vf_settle(struct vfio_device *dev)
{
	if (!dev->physfn)
		return;
	pthread_rwlock_wrlock(&dev->physfn->sriov->alive);
	pthread_rwlock_unlock(&dev->physfn->sriov->alive);
}

/* ---- what a PF does to its VFs ---- */

static void reset_vf(struct vfio_device *vf)
{
	device_reset_prepare(vf);
	device_reset_done(vf, UVFIO_RESET_FUNCTION, false);
}

/* Under the VF's config_lock. */
static void for_each_vf(struct vfio_device *pf, void (*fn)(struct vfio_device *vf))
{
	struct sriov *sriov = pf->sriov;

	pthread_rwlock_rdlock(&sriov->alive);
	for (unsigned i = 0; i < atomic_load(&sriov->num_vfs); i++) {
		struct vfio_device *vf = atomic_load(&sriov->vfs[i]);

		if (!vf)
			continue;
		pthread_mutex_lock(&vf->config_lock);
		if (!device_is_cut(vf))
			fn(vf);
		pthread_mutex_unlock(&vf->config_lock);
	}
	pthread_rwlock_unlock(&sriov->alive);
}

void sriov_reset_vfs(struct vfio_device *pf)
{
	if (vfio_device_num_vfs(pf))
		for_each_vf(pf, reset_vf);
}

void sriov_apply_vfs(struct vfio_device *pf)
{
	if (vfio_device_num_vfs(pf))
		for_each_vf(pf, device_apply);
}

/* ---- what a model asks ---- */

struct uvfio_device *uvfio_vf_pf(struct uvfio_device *dev)
{
	return (struct uvfio_device *)((struct vfio_device *)dev)->physfn;
}

unsigned uvfio_vf_index(const struct uvfio_device *vf)
{
	return ((const struct vfio_device *)vf)->vf_index;
}
