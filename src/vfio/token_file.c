/* SPDX-License-Identifier: BSD-3-Clause */
/* A VF token in a file: one UUID, and a newline or none. */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "vfio/token.h"

#define FILE_MAX 4096u

static int read_all(int fd, char *out, size_t size)
{
	size_t len = 0;

	while (len < size) {
		ssize_t n = pread(fd, out + len, size - len, (off_t)len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		len += (size_t)n;
	}
	return (int)len;
}

int vfio_token_from_file(int fd, const char *path, struct vfio_token *out, bool *shared,
			 struct uvfio_error *err)
{
	char text[FILE_MAX + 1];
	struct stat st;
	int len, ret = 0;

	if (uvfio_fstat(fd, &st))
		return uvfio_error_set(err, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return uvfio_error_set(err, -EINVAL,
				       "%s is no regular file; a token is read from one", path);
	len = read_all(fd, text, sizeof(text));
	if (len < 0)
		return uvfio_error_set(err, len, "%s: %s", path, strerror(-len));
	if (len == VFIO_TOKEN_TEXT + 1 && text[VFIO_TOKEN_TEXT] == '\n')
		len--;
	if (len == VFIO_TOKEN_TEXT)
		text[len] = '\0';
	if (len != VFIO_TOKEN_TEXT || vfio_token_parse(text, out))
		ret = uvfio_error_set(err, -EINVAL,
				      "%s holds no token: one UUID, which `uuidgen` makes, and a "
				      "newline or none (at most %u bytes are read)",
				      path, FILE_MAX);
	explicit_bzero(text, sizeof(text));
	*shared = st.st_mode & S_IROTH;
	return ret;
}
