"""The topics that Clipline needs on its broker."""

from __future__ import annotations

from stream import Topic, Transport

from .settings import TopicSettings


def ensure_topics(transport: Transport, topics: TopicSettings) -> None:
    """Create the topics of the wire where they are missing."""
    transport.ensure_topics(
        [
            Topic(topics.segments, topics.partitions, topics.retention_hours, topics.retention_bytes),
            Topic(topics.predictions, topics.partitions),
            Topic(topics.events, 1),
            Topic(topics.deadletter, 1),
            Topic(topics.state, topics.partitions, compacted=True),
            _rules(topics),
        ]
    )


def ensure_topic_of_rules(transport: Transport, topics: TopicSettings) -> None:
    """Create the topic of rules where it is missing."""
    transport.ensure_topics([_rules(topics)])


def ensure_topics_of_index(transport: Transport, topics: TopicSettings) -> None:
    """Create the topics of the index of segments where they are missing: only agents need them."""
    transport.ensure_topics(
        [
            Topic(topics.segments_index, topics.partitions, topics.retention_hours, compacted=True),
            # Kept for ever: numbers go on however long a camera was away.
            Topic(topics.segments_contents, topics.partitions, compacted=True),
        ]
    )


def ensure_topic_of_pictures(transport: Transport, topics: TopicSettings) -> None:
    """Create the topic of events' pictures where it is missing: only who makes them needs it, and that of events."""
    transport.ensure_topics([Topic(topics.events, 1), Topic(topics.pictures, 1)])


def ensure_topic_of_deliveries(transport: Transport, topics: TopicSettings, keep_hours: float) -> None:
    """Create the ledger's topic where it is missing: only who notifies needs it, and that of events."""
    transport.ensure_topics([Topic(topics.events, 1), Topic(topics.deliveries, 1, keep_hours)])


def ensure_topic_of_verdicts(transport: Transport, topics: TopicSettings, keep_hours: float) -> None:
    """Create the topic of verdicts where it is missing: only who gives, heeds or collects them needs it."""
    # One partition: of two answers to one link, all see the same one first.
    transport.ensure_topics([Topic(topics.verdicts, 1, keep_hours)])


def ensure_topic_of_audit(transport: Transport, topics: TopicSettings, keep_hours: float) -> None:
    """Create the topic of who changed what where it is missing: only who lets people change something needs it."""
    transport.ensure_topics([Topic(topics.audit, 1, keep_hours)])


def ensure_topic_of_forgotten(transport: Transport, topics: TopicSettings) -> None:
    """Create the topic of forgotten stretches where it is missing: only who has one forgotten needs it."""
    # Kept for ever: what comes later of such a stretch, as out of a spool, is left out as well.
    transport.ensure_topics([Topic(topics.forgotten, 1, compacted=True)])


def ensure_topic_of_access(transport: Transport, topics: TopicSettings, keep_hours: float) -> None:
    """Create the topic of shares and ended sessions where it is missing: only who serves the HTTP API needs it."""
    transport.ensure_topics([Topic(topics.access, 1, keep_hours, compacted=True)])


def _rules(topics: TopicSettings) -> Topic:
    # One partition: every worker reads all of it.
    return Topic(topics.rules, 1, compacted=True)
