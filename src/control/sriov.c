/* SPDX-License-Identifier: BSD-3-Clause */
/* PFs and VFs, as `list` and `show` tell of them. */
#include "control/control_private.h"
#include "vfio/host.h"
#include "vfio/sriov.h"

void json_put_driver(struct json_object *out, const struct vfio_device *dev)
{
	const char *name = vfio_device_driver_name(dev);

	if (name)
		json_put_string(out, "driver", name);
}

static unsigned vectors(struct vfio_device *dev)
{
	struct irq_state state;

	irq_observe(vfio_device_irqs(dev), VFIO_PCI_MSIX_IRQ_INDEX, &state);
	return state.count;
}

static void put_vf(struct json_object *out, struct vfio_device *vf, bool brief)
{
	json_put_string(out, "physfn", vfio_device_name(vfio_device_physfn(vf)));
	json_put_uint(out, "vf", vfio_device_vf_index(vf));
	if (!brief)
		json_put_uint(out, "vf_vectors", vectors(vf));
}

static struct json_object *pf_brief(struct vfio_device *pf)
{
	struct json_object *sriov = json_object_new_object();

	json_put_uint(sriov, "total_vfs", vfio_device_total_vfs(pf));
	json_put_uint(sriov, "num_vfs", vfio_device_num_vfs(pf));
	return sriov;
}

/* What the VFs of a pool have of it. */
static unsigned pool_used(struct vfio_device *pf)
{
	unsigned used = 0;

	for (unsigned i = 0; i < vfio_device_num_vfs(pf); i++) {
		struct vfio_device *vf = vfio_device_get_vf(pf, i);

		if (!vf)
			continue;
		used += vectors(vf);
		vfio_device_put(vf);
	}
	return used;
}

void json_put_sriov_brief(struct json_object *out, struct vfio_device *dev)
{
	if (vfio_device_physfn(dev))
		put_vf(out, dev, true);
	if (vfio_device_is_pf(dev))
		json_put(out, "sriov", pf_brief(dev));
}

void json_put_sriov(struct json_object *out, struct vfio_device *dev)
{
	const struct uvfio_sriov_desc *desc = pci_func_desc(vfio_device_func(dev))->sriov;
	struct json_object *sriov;

	if (vfio_device_physfn(dev))
		put_vf(out, dev, false);
	if (!vfio_device_is_pf(dev))
		return;
	sriov = pf_brief(dev);
	json_put_uint(sriov, "offset", desc->first_offset ? desc->first_offset : 1);
	json_put_uint(sriov, "stride", desc->stride ? desc->stride : 1);
	json_put_uint(sriov, "vf_device_id", desc->vf_device);
	json_put_bool(sriov, "drivers_autoprobe", vfio_device_drivers_autoprobe(dev));
	json_put_uint(sriov, "vectors_total", desc->msix_pool);
	json_put_uint(sriov, "vectors_used", desc->msix_pool ? pool_used(dev) : 0);
	json_put(out, "sriov", sriov);
}
