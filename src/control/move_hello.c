/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which device is moved: its model, its ids, what its BARs and its interrupts are.  What its
 * options make of it besides is the model's to check, in the stream; this is for an answer before
 * anything is copied.
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <string.h>
#include "control/move.h"
#include "migration/stream.h"
#include "pci/pci.h"
#include "vfio/observe.h"

#define MAGIC   "UVFIOMOV"
#define NR_BARS 6u

struct identity {
	char model[MIG_MODEL_NAME];
	uint16_t vendor, device, sub_vendor, sub_device;
	uint32_t class;
	uint32_t vectors;
	uint64_t bars[NR_BARS];
};

static void identify(struct vfio_device *dev, struct identity *id)
{
	struct pci_func *func = vfio_device_func(dev);
	const struct uvfio_pci_desc *desc = pci_func_desc(func);

	memset(id, 0, sizeof(*id));
	snprintf(id->model, sizeof(id->model), "%s", vfio_device_model(dev)->name);
	id->vendor = desc->vendor;
	id->device = desc->device;
	id->sub_vendor = desc->subsystem_vendor;
	id->sub_device = desc->subsystem_device;
	id->class = desc->class_code;
	id->vectors = pci_msix_count(func);
	for (unsigned i = 0; i < NR_BARS; i++) {
		struct vfio_region_state region;

		if (!vfio_device_region_state(dev, i, VFIO_MMIO_NONE, &region))
			id->bars[i] = region.size;
	}
}

void move_hello_write(struct vfio_device *dev, uint8_t bytes[MOVE_HELLO_BYTES])
{
	struct mig_buf buf;
	struct identity id;

	identify(dev, &id);
	mig_buf_init(&buf, MOVE_HELLO_BYTES);
	mig_put(&buf, MAGIC, 8);
	mig_put_u32(&buf, MOVE_VERSION);
	mig_put_u32(&buf, MIG_STREAM_VERSION);
	mig_put(&buf, id.model, sizeof(id.model));
	mig_put_u16(&buf, id.vendor);
	mig_put_u16(&buf, id.device);
	mig_put_u16(&buf, id.sub_vendor);
	mig_put_u16(&buf, id.sub_device);
	mig_put_u32(&buf, id.class);
	mig_put_u32(&buf, id.vectors);
	for (unsigned i = 0; i < NR_BARS; i++)
		mig_put_u64(&buf, id.bars[i]);
	memset(bytes, 0, MOVE_HELLO_BYTES);
	if (!buf.error)
		memcpy(bytes, buf.bytes, buf.len);
	mig_buf_fini(&buf);
}

/* What of it comes first that is different. */
static int compare(const struct identity *their, const struct identity *mine,
		   struct uvfio_error *err)
{
	if (strcmp(their->model, mine->model))
		return uvfio_error_set(err, -EINVAL,
				       "the device that comes is a %s, and this is a %s",
				       their->model, mine->model);
	if (their->vendor != mine->vendor || their->device != mine->device ||
	    their->sub_vendor != mine->sub_vendor || their->sub_device != mine->sub_device ||
	    their->class != mine->class)
		return uvfio_error_set(
			err, -EINVAL,
			"the device that comes has the ids %04x:%04x (%04x:%04x, class %06x), "
			"and this has %04x:%04x (%04x:%04x, class %06x): start it with the "
			"same options",
			their->vendor, their->device, their->sub_vendor, their->sub_device,
			their->class, mine->vendor, mine->device, mine->sub_vendor,
			mine->sub_device, mine->class);
	for (unsigned i = 0; i < NR_BARS; i++) {
		if (their->bars[i] != mine->bars[i])
			return uvfio_error_set(
				err, -EINVAL,
				"BAR %u of the device that comes has %llu bytes, and here it has "
				"%llu: start it with the same options",
				i, (unsigned long long)their->bars[i],
				(unsigned long long)mine->bars[i]);
	}
	if (their->vectors != mine->vectors)
		return uvfio_error_set(err, -EINVAL,
				       "the device that comes has %u MSI-X vectors, and this has "
				       "%u: start it with the same options",
				       their->vectors, mine->vectors);
	return 0;
}

int move_hello_check(struct vfio_device *dev, const void *bytes, size_t len,
		     struct uvfio_error *err)
{
	struct mig_in in = {bytes, (const uint8_t *)bytes + len, false};
	const char *magic = mig_get(&in, 8), *model;
	uint32_t version = mig_get_u32(&in), stream = mig_get_u32(&in);
	struct identity their = {.model = ""}, mine;

	if (!magic || memcmp(magic, MAGIC, 8))
		return uvfio_error_set(err, -EPROTO, "what comes is no device of uvfio's");
	if (version != MOVE_VERSION || stream != MIG_STREAM_VERSION)
		return uvfio_error_set(
			err, -EPROTO,
			"the other side moves devices by version %u (of the stream: %u), and this "
			"server knows %u (%u)",
			version, stream, MOVE_VERSION, MIG_STREAM_VERSION);
	model = mig_get(&in, sizeof(their.model));
	if (model)
		memcpy(their.model, model, sizeof(their.model) - 1);
	their.vendor = mig_get_u16(&in);
	their.device = mig_get_u16(&in);
	their.sub_vendor = mig_get_u16(&in);
	their.sub_device = mig_get_u16(&in);
	their.class = mig_get_u32(&in);
	their.vectors = mig_get_u32(&in);
	for (unsigned i = 0; i < NR_BARS; i++)
		their.bars[i] = mig_get_u64(&in);
	if (in.bad || len != MOVE_HELLO_BYTES)
		return uvfio_error_set(err, -EPROTO, "its description of the device was cut");
	for (char *c = their.model; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	identify(dev, &mine);
	return compare(&their, &mine, err);
}
