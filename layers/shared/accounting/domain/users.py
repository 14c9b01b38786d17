"""Users, and who holds an e-mail address.

A user's tokens state the e-mail address, the username and the role. So does a sync, a request in which the platform
describes a user. This module decides which statement counts if they differ.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from accounting.domain import addresses
from accounting.domain.errors import Invalid, UserErased
from accounting.domain.usage import RESERVED_NAMES

ROLES = ("user", "supervisor", "admin")
"""In rising order of rights."""
DEFAULT_ROLE = ROLES[0]

RESERVED_USER_IDS = RESERVED_NAMES | {"all", "me", "sync"}
"""Forbidden as user ids: some routes have these words in the place of a user's id."""

MAX_USER_ID = 128

MAX_FORMER_HOLDERS = 10
"""How many users an address remembers besides its holder: the first to claim it, and the most recent ones."""


class User(NamedTuple):
    """A user as stored. Times are epoch milliseconds, except where the text says seconds.

    ``email_at`` (seconds), ``username_at`` (seconds) and ``role_at`` are the times of the newest statements about the
    e-mail address, the username and the role. Some tokens have an ``iat`` that is in the future when they arrive.
    ``ahead`` (seconds) is the latest ``iat`` of these tokens, or 0 if there were none. ``updated_at`` changes with
    every write. ``disabled_at`` is None if the user is not disabled, and ``erased_at`` is None if the user's personal
    data was not erased. ``more`` has the attributes that a newer version of the service wrote. This version keeps them
    unchanged.
    """

    id: str
    email: str
    username: str
    role: str
    created_at: int = 0
    updated_at: int = 0
    email_at: int = 0
    username_at: int = 0
    role_at: int = 0
    ahead: int = 0
    disabled_at: int | None = None
    disabled_reason: str = ""
    erased_at: int | None = None
    more: Mapping[str, Any] = MappingProxyType({})

    @property
    def disabled(self) -> bool:
        """Whether an administrator has disabled the user."""
        return self.disabled_at is not None

    @property
    def erased(self) -> bool:
        """Whether the user's personal data was erased. Such a user is disabled for good."""
        return self.erased_at is not None

    def touched(self, now: int) -> "User":
        """The user with a later ``updated_at``.

        Writes are conditional on ``updated_at``, so every write must change it, even in the same millisecond.
        """
        return self._replace(updated_at=max(now, self.updated_at + 1))

    def is_no_newer_than_ahead(self, issued_at: int) -> bool:
        """Whether a token issued at ``issued_at`` (epoch milliseconds) is not newer than ``ahead``.

        Such a token may be older than it claims, because its issuer's clock may have been ahead.
        """
        return bool(self.ahead) and issued_at <= self.ahead * 1000

    @property
    def address(self) -> str | None:
        """The e-mail address in the form for comparison, or None if the user has no valid address."""
        return addresses.canonical(self.email)


class Description(NamedTuple):
    """What a token or a sync says about a user. A field that is None changes nothing.

    ``issued_at`` is the time of the statement in epoch seconds. ``role_at`` is the same time in epoch milliseconds, and
    is used only for the role.
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

        The ``role_at`` of a token is always a whole second, because tokens have times in seconds. The ``role_at`` of a
        sync is never a whole second. So a token of the same second counts as older than the sync.
        """
        role_at = max(now, now - now % 1000 + 1)
        return cls(user_id, email, username, role, issued_at=now // 1000, role_at=role_at)

    def applied_to(self, known: User | None, now: int) -> User:
        """The user with this description applied; ``known`` itself if nothing changes.

        An older statement never replaces a newer one. A newer statement that only repeats a stored value still updates
        the value's time, so that no statement from before that time can replace the value. Of statements with the same
        time, the last to arrive counts. No statement counts as later than the second in which it arrives, because the
        clock of a token's issuer may be ahead. The e-mail in a disabled user's token is ignored, so that it cannot
        strengthen the user's claim to the address. A token of an erased user changes nothing. Raises UserErased if a
        sync describes an erased user.
        """
        if known is not None and known.erased:
            if self._is_sync:
                raise UserErased
            return known
        user = known or User(self.id, "", "", DEFAULT_ROLE, created_at=now)
        second = now // 1000
        at = min(self.issued_at, second)
        is_known_ahead = not self._is_sync and bool(user.ahead) and self.issued_at == user.ahead
        frozen = user.disabled and not self._is_sync
        if self.email is not None and at >= user.email_at and not (is_known_ahead or frozen):
            user = user._replace(email=self.email, email_at=at)
        if self.username is not None and at >= user.username_at and not is_known_ahead:
            user = user._replace(username=self.username, username_at=at)
        if self.role is not None and self._decides_role(self.role, user, second):
            user = user._replace(role=self.role, role_at=self._role_at(second))
        if self.issued_at > max(second, user.ahead):
            user = user._replace(ahead=self.issued_at)
        return user if user == known else user.touched(now)

    @property
    def _is_sync(self) -> bool:
        return _is_of_a_sync(self.role_at)

    def _role_at(self, second: int) -> int:
        """The time from which the role counts: ``role_at``, but no later than the end of the current second."""
        return min(self.role_at, (second + 1) * 1000)

    def _decides_role(self, role: str, user: User, second: int) -> bool:
        """Whether this statement about the role replaces the last one.

        A token whose ``iat`` is not later than ``ahead`` may be older than the last statement. Such a token can only
        lower a role, and only a role that another token stated.
        """
        last_is_of_a_sync = _is_of_a_sync(user.role_at)
        # If a token was ahead, the stored time of its role is the end of the second in which the token arrived. If a
        # sync follows in that second, the sync must replace the role, although the stored time is later than the sync.
        last_at = min(user.role_at, second * 1000) if self._is_sync and not last_is_of_a_sync else user.role_at
        if self._role_at(second) < last_at:
            return False
        if self._is_sync or not user.is_no_newer_than_ahead(self.role_at):
            return True
        return not last_is_of_a_sync and ROLES.index(role) < ROLES.index(user.role)


def _is_of_a_sync(role_at: int) -> bool:
    """Whether a sync, not a token, stated the role: only a token's ``role_at`` is a whole second."""
    return role_at % 1000 != 0


def effective_role(claimed_role: str, issued_at: int, known: User | None) -> str:
    """The role in which a token acts if it claims ``claimed_role`` and was issued at ``issued_at`` (milliseconds).

    If the stored role is from a newer statement than the token, the lower of the two roles counts. The same applies to
    a token that is not newer than ``ahead``, because it may be older than it claims.
    """
    if known is None or (issued_at >= known.role_at and not known.is_no_newer_than_ahead(issued_at)):
        return claimed_role
    return min(claimed_role, known.role, key=ROLES.index)


def disabled(user: User, *, by: str, reason: str, now: int) -> User:
    """The user, disabled. A user who is disabled already stays the same. Raises Invalid if ``by`` is the user."""
    if user.id == by:
        raise Invalid.field("userId", "an administrator cannot disable themselves")
    if user.disabled:
        return user
    return user._replace(disabled_at=now, disabled_reason=reason).touched(now)


def enabled(user: User, *, now: int) -> User:
    """The user, no longer disabled. Raises UserErased."""
    if user.erased:
        raise UserErased
    if not user.disabled:
        return user
    return user._replace(disabled_at=None, disabled_reason="").touched(now)


def erased(user: User, *, by: str, now: int) -> User:
    """The user without personal data, disabled for good. Raises Invalid if ``by`` is the user.

    Attributes that a newer version wrote are dropped, because they may be personal.
    """
    if user.id == by:
        raise Invalid.field("userId", "an administrator cannot erase themselves")
    if user.erased:
        return user
    disabled_at = now if user.disabled_at is None else user.disabled_at
    bare = user._replace(email="", username="", disabled_at=disabled_at, disabled_reason="", more={})
    return bare._replace(erased_at=now).touched(now)


class Pointer(NamedTuple):
    """The holder of an e-mail address. ``issued_at`` (seconds) is the time of the holder's claim.

    ``since`` (milliseconds) is when the address was first held by any user. If a text is an address of one user and the
    id of another, ``since`` decides whom the text means. ``former`` are the other users who claimed the address, in the
    order in which they were added.
    """

    address: str
    user_id: str
    issued_at: int
    since: int
    former: tuple[str, ...] = ()

    def held_by(self, user_id: str, issued_at: int) -> "Pointer":
        """The pointer after another user, or the holder with a newer statement, has claimed the address."""
        former = [each for each in (*self.former, self.user_id) if each != user_id]
        return self._replace(user_id=user_id, issued_at=issued_at, former=_bounded(former))

    def awaited_by(self, user_id: str) -> "Pointer":
        """The pointer with one more user who claims the address with an older statement than the holder's."""
        return self if user_id in self.former else self._replace(former=_bounded([*self.former, user_id]))

    def without(self, user_id: str) -> "Pointer":
        """The pointer after a user who claimed the address, but does not hold it, has given up the claim."""
        return self._replace(former=tuple(each for each in self.former if each != user_id))

    def passed_to(self, user: User) -> "Pointer":
        """The pointer after its holder has given up the address to another user who claims it."""
        former = tuple(each for each in self.former if each not in (user.id, self.user_id))
        return self._replace(user_id=user.id, issued_at=user.email_at, former=former)


def _bounded(former: list[str]) -> tuple[str, ...]:
    """The first user to claim an address and the most recent ones: later claims never push out the first user."""
    return tuple(former if len(former) <= MAX_FORMER_HOLDERS else [former[0], *former[1 - MAX_FORMER_HOLDERS :]])


def must_claim(known: User | None, user: User, pointer: Pointer | None) -> bool:
    """Whether ``user`` must claim their address. ``known`` is the user before the change, or None for a new user.

    After a new statement about the e-mail address, the user must claim the address. There are two exceptions: the
    address is not valid, or it did not change and the user holds it.
    """
    if user.address is None or (known and (known.email, known.email_at) == (user.email, user.email_at)):
        return False
    holds_it = pointer is not None and pointer.user_id == user.id
    return not (holds_it and known is not None and known.address == user.address)


def claimed(
    pointer: Pointer | None, user: User, *, holder: User | None, namesakes: Iterable[User], now: int
) -> Pointer | None:
    """The pointer of the user's address after the claim, or None if the pointer does not change.

    The user with the newest statement gets the address. A user with an older statement waits until the holder gives up
    the address. The ``holder``'s newest statement may be later than ``pointer.issued_at``, because a statement that
    repeats the holder's address does not change the pointer. ``namesakes`` are the users whose id is the same text as
    the address. If such a user existed before the address had a holder, no other user can claim the address. A disabled
    user claims nothing.
    """
    address = user.address
    if address is None or user.disabled:
        return None
    if any(other.id != user.id and (pointer is None or pointer.since >= other.created_at) for other in namesakes):
        return None
    if pointer is None:
        return Pointer(address, user.id, user.email_at, since=now)
    if pointer.user_id == user.id:
        return pointer.held_by(user.id, user.email_at)
    claimed_at = pointer.issued_at
    if holder is not None and holder.address == address:
        claimed_at = max(claimed_at, holder.email_at)
    if claimed_at > user.email_at:
        awaited = pointer.awaited_by(user.id)
        return None if awaited == pointer else awaited
    return pointer.held_by(user.id, user.email_at)


def heir(address: str, candidates: Iterable[User]) -> User | None:
    """The user who gets an address that its holder gives up: the newest claimant who is not disabled.

    If all claimants are disabled, the newest one gets it.
    """
    claimants = [each for each in candidates if each.address == address]
    return max(claimants, key=lambda each: (not each.disabled, each.email_at), default=None)


def is_meant_by_id(namesake: User | None, pointer: Pointer | None) -> bool:
    """Whether a text means the user with this id (``namesake``), and not the holder of this address (``pointer``).

    If the text was an address before it became an id, it means the holder. If it became both at the same instant, it
    means ``namesake``.
    """
    return namesake is not None and (pointer is None or pointer.since >= namesake.created_at)
