/* SPDX-License-Identifier: BSD-3-Clause */
/* What a model writes and reads sections with (uvfio/migration.h). */
#include <string.h>
#include <uvfio/migration.h>
#include "vfio/migrate.h"

void uvfio_save_section(struct uvfio_save *out, const char *kind, uint32_t version)
{
	if (out->in_section)
		mig_section_end(out->out);
	mig_section_begin(out->out, MIG_TAG(kind[0], kind[1], kind[2], kind[3]), version);
	out->in_section = true;
}

void uvfio_save_u8(struct uvfio_save *out, uint8_t value)
{
	mig_put_u8(out->out->out, value);
}

void uvfio_save_u16(struct uvfio_save *out, uint16_t value)
{
	mig_put_u16(out->out->out, value);
}

void uvfio_save_u32(struct uvfio_save *out, uint32_t value)
{
	mig_put_u32(out->out->out, value);
}

void uvfio_save_u64(struct uvfio_save *out, uint64_t value)
{
	mig_put_u64(out->out->out, value);
}

void uvfio_save_bytes(struct uvfio_save *out, const void *bytes, size_t len)
{
	mig_put(out->out->out, bytes, len);
}

bool uvfio_load_is(const struct uvfio_load *in, const char *kind)
{
	return !strncmp(in->kind, kind, 4);
}

const char *uvfio_load_kind(const struct uvfio_load *in)
{
	return in->kind;
}

uint32_t uvfio_load_version(const struct uvfio_load *in)
{
	return in->section->version;
}

uint8_t uvfio_load_u8(struct uvfio_load *in)
{
	return mig_get_u8(&in->section->in);
}

uint16_t uvfio_load_u16(struct uvfio_load *in)
{
	return mig_get_u16(&in->section->in);
}

uint32_t uvfio_load_u32(struct uvfio_load *in)
{
	return mig_get_u32(&in->section->in);
}

uint64_t uvfio_load_u64(struct uvfio_load *in)
{
	return mig_get_u64(&in->section->in);
}

const void *uvfio_load_bytes(struct uvfio_load *in, size_t len)
{
	return mig_get(&in->section->in, len);
}

size_t uvfio_load_left(const struct uvfio_load *in)
{
	return mig_left_bytes(&in->section->in);
}

bool uvfio_load_ok(const struct uvfio_load *in)
{
	return !in->section->in.bad && !mig_left_bytes(&in->section->in);
}
