/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VF tokens (C): a shared secret, a UUID, between the user of a PF and those of its VFs.
 *
 * The first half is for whoever carries a token from somewhere to the core: a door, an option, a
 * configuration file.  The second is the core's own.
 *
 * A token is a secret: it is compared in constant time, is never logged or shown, and whoever has
 * had a copy wipes it.
 */
#ifndef UVFIO_VFIO_TOKEN_H
#define UVFIO_VFIO_TOKEN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/log.h"

/* ---- tokens on their way ---- */

#define VFIO_TOKEN_BYTES  16u
#define VFIO_TOKEN_TEXT   36u /* characters: 01234567-89ab-cdef-0123-456789abcdef */
#define VFIO_TOKEN_OPTION "vf_token="

/* The order of the bytes is that of the text. */
struct vfio_token {
	uint8_t uuid[VFIO_TOKEN_BYTES];
};

/* The first VFIO_TOKEN_TEXT characters of @text, of either case, whatever is behind them.  0, or
 * -EINVAL and *@out is untouched. */
int vfio_token_parse(const char *text, struct vfio_token *out);
void vfio_token_format(const struct vfio_token *token, char out[VFIO_TOKEN_TEXT + 1]);
bool vfio_token_equal(const struct vfio_token *a, const struct vfio_token *b);
void vfio_token_wipe(struct vfio_token *token);
/* What is to be given to vfio_group_get_device() for a device and a token, NULL: none.  Wipe it.
 * Returns its length without the zero. */
#define VFIO_TOKEN_STRING (16u + 1u + sizeof(VFIO_TOKEN_OPTION) + VFIO_TOKEN_TEXT)
size_t vfio_token_string(const char *name, const struct vfio_token *token,
			 char out[VFIO_TOKEN_STRING]);
/* The one in the file @fd, which was opened for reading; @path is for messages.  0 and *@shared:
 * may others read it, too?  -EINVAL: it is no regular file, or holds something else than one UUID,
 * with a newline or without; or -errno; with a message. */
int vfio_token_from_file(int fd, const char *path, struct vfio_token *out, bool *shared,
			 struct uvfio_error *err);
#define VFIO_TOKEN_SHARED "others can read it, and who knows the token can use VFs: chmod 0600"
/* The options behind a device's name, in GET_DEVICE_FD (C): 1 and *@token when one is given, 0 when
 * none is, -EINVAL for anything else than at most one vf_token=UUID between spaces. */
int vfio_token_options(const char *options, struct vfio_token *token);
/* Forget a text in which there may be one; NULL is allowed. */
void vfio_token_wipe_text(char *text);
/* The token that the option of PF @dev has given (spec.c), for those who open it, or its VFs, on
 * behalf of clients that know none; false: it has given none.  Any thread; @dev is held. */
struct vfio_device;
bool vfio_device_given_token(const struct vfio_device *dev, struct vfio_token *out);
/* The token that PF @dev has now, whoever has set it, and setting it: for who takes the device into
 * another process.  False, -ENOTTY: it is no PF of vfio-pci's, or has none.  Any thread; held. */
bool vfio_device_token_now(struct vfio_device *dev, struct vfio_token *out);
int vfio_device_token_put(struct vfio_device *dev, const struct vfio_token *token);
/* The matrix of C, for who wants to know before it opens @dev with @given (NULL: nothing): 0,
 * -EACCES or -EINVAL.  Changes nothing; logs a refusal.  Any thread; @dev is held. */
int vfio_device_token_allows(struct vfio_device *dev, const struct vfio_token *given);
/* Write '*' over the values of all vf_token= in @text, up to a space or comma: it can be shown
 * then, and holds no token. */
void vfio_token_redact(char *text);
/* The first vf_token= in @text, redacted, and its value put back.  False: @text has none, or what
 * it has is no UUID; then it is redacted, too. */
bool vfio_token_take(char *text, struct vfio_token *out);
void vfio_token_restore(char *text, const struct vfio_token *token);

/* ---- the core's ---- */

/*
 * In every device.  A PF has a token of its own while vfio-pci has it; a VF has its PF's.  Both are
 * set when the function is bound to vfio-pci, under machine->lock, and stay until it is given back;
 * so they can be read by whoever counts as a user of the device.
 */
struct vf_token {
	bool own;           /* of a PF: what follows, up to @refusals, is in use */
	atomic_bool listed; /* it has enabled VFs by vfio-pci: those that are bound are linked */
	struct vfio_device *pf;          /* of a VF that is linked; NULL: it is not */
	struct uvfio_ratelimit refusals; /* said of */
	pthread_mutex_t lock;            /* a leaf; of the rest */
	bool known; /* false: there was no randomness, and nothing is equal to it */
	struct vfio_token value;
	unsigned users; /* open VFs that are linked */
	/* By an option of the PF's; constant once it is in the machine. */
	bool has_given;
	struct vfio_token given;
};

/* Once each, with the device. */
void vf_token_init(struct vfio_device *dev);
void vf_token_fini(struct vfio_device *dev);
/* @dev is bound to vfio-pci from now on: @pf, a PF gets a token that nobody knows; a VF of @physfn
 * (NULL: none) is linked if that is in the list.  The other way round: it is wiped, and the link is
 * gone.  machine->lock held. */
void vf_token_bound(struct vfio_device *dev, bool pf, struct vfio_device *physfn);
void vf_token_unbound(struct vfio_device *dev);
/* A PF that is about to be found, bound or not, has this token from now on.  machine->lock held. */
void vf_token_give(struct vfio_device *dev, const struct vfio_token *given);
/* vfio-pci's list of PFs: from before the first VF is made until after the last one has gone. */
void vf_token_list(struct vfio_device *pf, bool listed);

/* Why a device cannot be opened. */
enum vf_token_refusal {
	VF_TOKEN_OK,
	VF_TOKEN_UNUSED, /* it takes none */
	VF_TOKEN_NEEDED,
	VF_TOKEN_WRONG,
	NR_VF_TOKEN_REFUSALS
};
/* The matrix: may who presents @given (NULL: nothing) open @dev?  A PF's new token is stored here.
 * 0, -EACCES or -EINVAL, and *@why, which is to be said by the second function, without locks. */
int vf_token_check(struct vfio_device *dev, const struct vfio_token *given,
		   enum vf_token_refusal *why);
void vf_token_remark(struct vfio_device *dev, enum vf_token_refusal why);
/* FEATURE 0 (A.10): -ENOTTY for what is no PF. */
int vf_token_set(struct vfio_device *dev, const struct vfio_token *value);
/* @dev was opened by a user of VFIO, or its last one closes it.  Its open_lock is held. */
void vf_token_use(struct vfio_device *dev, bool open);

#endif
