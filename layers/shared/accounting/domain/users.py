"""Users: what tokens and the platform's sync say of them, which word counts, and which user a text means.

Imports ``addresses``, ``errors`` and ``usage`` only.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from accounting.domain import addresses
from accounting.domain.errors import Invalid
from accounting.domain.usage import RESERVED_NAMES

ROLES = ("user", "supervisor", "admin")
"""From the one that may least to the one that may most."""
DEFAULT_ROLE = ROLES[0]

RESERVED_USER_IDS = RESERVED_NAMES | {"all", "me", "sync"}
"""No user has such an id: routes have these words where others have a user's id."""

MAX_FORMER_HOLDERS = 10


@dataclass(frozen=True, slots=True)
class User:
    """A user as they are known; times are epoch milliseconds but for ``issued_at``, in seconds.

    ``issued_at`` is that of the newest word on e-mail and name, ``role_at`` that of the newest word on the role.
    ``updated_at`` changes with every write. ``disabled_at`` is None of a user who is not disabled. ``more`` is what a
    newer version wrote; this one hands it on.
    """

    id: str
    email: str
    username: str
    role: str
    created_at: int = 0
    updated_at: int = 0
    issued_at: int = 0
    role_at: int = 0
    disabled_at: int | None = None
    disabled_reason: str = ""
    more: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def disabled(self) -> bool:
        """Whether an administrator has disabled the user."""
        return self.disabled_at is not None

    @property
    def address(self) -> str | None:
        """The e-mail address in the form in which addresses are compared; None without one."""
        return addresses.canonical(self.email)


@dataclass(frozen=True, slots=True)
class Description:
    """What a token or a sync says of a user. What is None it does not say, and changes nothing.

    ``issued_at`` (epoch seconds) is when it was said, ``role_at`` (epoch milliseconds) when it was said of the role.
    """

    id: str
    email: str | None = None
    username: str | None = None
    role: str | None = None
    issued_at: int = 0
    role_at: int = 0

    @classmethod
    def by_the_platform(cls, user_id: str, *, email: str, username: str, role: str | None, now: int) -> "Description":
        """What a sync says at ``now``.

        Its word on the role is never in the first millisecond of a second: there the words of tokens are, which know
        seconds only, and a token of the same second counts as older.
        """
        role_at = max(now, now - now % 1000 + 1)
        return cls(user_id, email, username, role, issued_at=now // 1000, role_at=role_at)

    def applied_to(self, known: User | None, now: int) -> User:
        """The user as this describes them; ``known`` itself if it says nothing new.

        An older word never undoes a newer one, so a newer word is remembered even if it says the same. Among words of
        the same time the last to be heard counts.
        """
        user = known or User(self.id, "", "", DEFAULT_ROLE, created_at=now)
        if self.issued_at >= user.issued_at and (self.email, self.username) != (None, None):
            email = user.email if self.email is None else self.email
            username = user.username if self.username is None else self.username
            user = replace(user, email=email, username=username, issued_at=self.issued_at)
        if self.role is not None and self.role_at >= user.role_at:
            user = replace(user, role=self.role, role_at=self.role_at)
        if user == known:
            return user
        # The condition of the next change: it must differ from the last one even within a millisecond.
        return replace(user, updated_at=max(now, known.updated_at + 1) if known else now)


def effective_role(said: str, said_at: int, known: User | None) -> str:
    """The role in which a token acts that says ``said`` since ``said_at`` (epoch milliseconds).

    A newer word that says less counts at once; one that says more needs a token that says so too.
    """
    if known is None or known.role_at <= said_at:
        return said
    return min(said, known.role, key=ROLES.index)


def disabled(user: User, *, by: str, reason: str, now: int) -> User:
    """The user, disabled since ``now`` or since they were before. Raises Invalid when they would disable themselves."""
    if user.id == by:
        raise Invalid.field("userId", "an administrator cannot disable themselves")
    if user.disabled:
        return user
    return replace(user, disabled_at=now, disabled_reason=reason, updated_at=max(now, user.updated_at + 1))


def enabled(user: User, *, now: int) -> User:
    """The user, enabled again."""
    if not user.disabled:
        return user
    return replace(user, disabled_at=None, disabled_reason="", updated_at=max(now, user.updated_at + 1))


@dataclass(frozen=True, slots=True)
class Pointer:
    """Who holds an e-mail address. ``issued_at`` (seconds) is that of the word that claimed it.

    ``since`` (milliseconds) is when the address was first held, by whomever: it decides between an address and an id
    of the same text. ``former`` are earlier holders, the newest last.
    """

    address: str
    user_id: str
    issued_at: int
    since: int
    former: tuple[str, ...] = ()

    def held_by(self, user_id: str, issued_at: int) -> "Pointer":
        """The pointer once another user, or the same by a newer word, has claimed the address."""
        former = [each for each in (*self.former, self.user_id) if each != user_id]
        return replace(self, user_id=user_id, issued_at=issued_at, former=tuple(former[-MAX_FORMER_HOLDERS:]))

    def back_at(self, user: User) -> "Pointer":
        """The pointer once it has gone back to a former holder."""
        former = tuple(each for each in self.former if each not in (user.id, self.user_id))
        return replace(self, user_id=user.id, issued_at=user.issued_at, former=former)


def claimed(
    pointer: Pointer | None, user: User, *, holder: User | None, namesakes: Iterable[User], now: int
) -> Pointer | None:
    """The pointer of the user's address once they hold it; None if it is not theirs to claim.

    The newest word that claims an address gets it: ``holder``, whom the pointer means now, may have had one since. But
    the first to hold a text keeps it: an address is not claimed that was another user's id (``namesakes``) before.
    """
    address = user.address
    if address is None:
        return None
    if any(other.id != user.id and (pointer is None or pointer.since >= other.created_at) for other in namesakes):
        return None
    if pointer is None:
        return Pointer(address, user.id, user.issued_at, since=now)
    claimed_at = pointer.issued_at
    if holder is not None and holder.address == address:
        claimed_at = max(claimed_at, holder.issued_at)
    if pointer.user_id != user.id and claimed_at > user.issued_at:
        return None
    return pointer.held_by(user.id, user.issued_at)


def is_meant_by_id(namesake: User | None, pointer: Pointer | None) -> bool:
    """Whether a text means the user whose id it is, and not the holder of the address that it is, too.

    The first to hold a text keeps it; at the same instant the id wins.
    """
    return namesake is not None and (pointer is None or pointer.since >= namesake.created_at)
