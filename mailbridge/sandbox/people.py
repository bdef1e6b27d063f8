"""Ready-made people: customers, products, orders and what customers write.

Everything is invented, and drawn from a random source that is passed in: the same seed tells the
same story. Used by the demo and by tests that need many discussions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from random import Random

from mailbridge.domain.discussion import DiscussionKind
from mailbridge.sandbox.books import BookedDiscussion, Books
from mailbridge.sandbox.orders import BookedOrder, BookedParcel, OrderLineEntry, Person

__all__ = ["PRODUCTS", "Cast", "Product"]


@dataclass(frozen=True, slots=True)
class Product:
    """Something the shop sells."""

    reference: str
    name: str
    price: Decimal
    ean: str
    shipping: Decimal = Decimal(0)


PRODUCTS: Sequence[Product] = (
    Product("LAMP-OSIER-40", "Suspension en osier tressé 40 cm", Decimal("59.90"), "3760100000017"),
    Product("TAP-BERB-160", "Tapis berbère écru 160 x 230 cm", Decimal("129.00"), "3760100000024"),
    Product("CHV-CHENE", "Chevet en chêne massif, un tiroir", Decimal("89.50"), "3760100000031"),
    Product("PLAID-LAINE", "Plaid en laine des Pyrénées", Decimal("45.00"), "3760100000048"),
    Product("MIR-ROND-60", "Miroir rond cerclé de laiton 60 cm", Decimal("74.90"), "3760100000055"),
    Product("POT-TERRE-3", "Lot de 3 cache-pots en terre cuite", Decimal("24.90"), "3760100000062"),
    Product("ETAG-MUR-80", "Étagère murale en frêne 80 cm", Decimal("39.90"), "3760100000079"),
    Product("BOUIL-1L7", "Bouilloire inox 1,7 L à col de cygne", Decimal("34.99"), "3760100000086"),
    Product("RIDEAU-LIN", "Rideau en lin lavé 140 x 260 cm", Decimal("49.90"), "3760100000093"),
    Product("COUV-24P", "Ménagère 24 couverts Brindille", Decimal("69.00"), "3760100000109"),
    Product("VASE-GRES", "Vase en grès émaillé vert sauge", Decimal("29.50"), "3760100000116"),
    Product("PANIER-XL", "Panier à linge en jacinthe d'eau XL", Decimal("54.00"), "3760100000123"),
)

_FIRST = (
    "Marie",
    "Karim",
    "Élodie",
    "Jean-Luc",
    "Aïcha",
    "Thomas",
    "Chloé",
    "Hervé",
    "Inès",
    "François",
    "Noémie",
    "Mehdi",
    "Solène",
    "Gaël",
    "Brigitte",
    "Théo",
)
_LAST = (
    "Dupré",
    "Benali",
    "Lefèvre",
    "Garnier",
    "Traoré",
    "Roussel",
    "Le Goff",
    "Muñoz",
    "Châtelain",
    "Da Silva",
    "Perrin",
    "D'Hervilly",
    "Nguyen",
    "Fabre",
    "Müller",
    "Œuvrard",
)
_ENGLISH = (("Emma", "Whitfield"), ("Liam", "O'Connor"), ("Sophie", "Barnes"))
_CITIES = (
    ("12 rue du Port", "44000", "Nantes"),
    ("7 impasse des Tilleuls", "38000", "Grenoble"),
    ("25 bis avenue Foch", "54000", "Nancy"),
    ("3 place du Marché", "64100", "Bayonne"),
    ("118 boulevard Voltaire", "75011", "Paris"),
    ("1 chemin de la Source", "05000", "Gap"),
)
_REASONS = {
    "PackageNotReceived": "Je n'ai pas reçu ma commande",
    "DamagedProduct": "Mon produit est abîmé",
    "MissingAccessories": "Il manque un accessoire",
    "WrongProductReference": "Je n'ai pas reçu le bon produit",
    "ProductNotWorking": "Mon produit ne fonctionne pas",
    "WishToWithdraw": "Je souhaite me rétracter",
}
_CLAIMS = {
    "PackageNotReceived": (
        "Bonjour,\n\nLe suivi indique « livré » depuis mardi mais je n'ai rien reçu, et aucun "
        "voisin n'a le colis. Pouvez-vous vérifier auprès du transporteur ?\n\nMerci d'avance",
        "Bonjour, toujours aucune nouvelle de ma commande alors que la date de livraison est "
        "passée de quatre jours. Où est mon colis ?",
    ),
    "DamagedProduct": (
        "Bonjour,\n\nLe carton était enfoncé et le produit est fendu sur toute la longueur. "
        "J'ai pris des photos. Que proposez-vous ?\n\nCordialement",
        "Reçu ce matin, cassé. Emballage ridicule pour un objet aussi fragile, je suis déçu(e).",
    ),
    "MissingAccessories": (
        "Bonjour, il manque les vis et la notice dans la boîte. Pouvez-vous me les envoyer ?",
    ),
    "WrongProductReference": (
        "Bonjour,\nJ'avais commandé l'autre couleur. Comment fait-on pour l'échange, et qui paie "
        "le retour ?",
    ),
    "ProductNotWorking": (
        "Bonjour, après deux utilisations plus rien ne s'allume. J'ai essayé plusieurs prises.\n"
        "Est-ce que la garantie s'applique ?",
    ),
    "WishToWithdraw": (
        "Bonjour, finalement la dimension ne convient pas. Je souhaite retourner l'article (neuf, "
        "jamais déballé). Merci de m'indiquer la marche à suivre.",
    ),
}
_QUESTIONS = (
    "Bonjour,\n\nPouvez-vous me dire quand ma commande sera expédiée ? Je pars en vacances samedi.",
    "Bonjour, je me suis trompé d'étage dans l'adresse : c'est le 3e, porte gauche. Est-il encore "
    "possible de le signaler au livreur ?",
    "Bonjour, j'aurais besoin d'une facture au nom de ma société. Merci !",
    "Puis-je encore modifier la quantité ? J'en voudrais deux au lieu d'un.\n\nBien à vous",
)
_OFFERS = (
    "Bonjour, quelles sont les dimensions exactes une fois monté ? La fiche n'en parle pas.",
    "Bonjour,\nest-ce que l'article passe au lave-vaisselle ?",
    "Bonjour, aurez-vous bientôt d'autres coloris en stock ?",
)
_ENGLISH_TEXTS = (
    "Hello,\n\nThe parcel has not arrived yet and the tracking page does not change. "
    "Could you please check?\n\nThank you",
    "Hi, one of the pieces is missing. Can you send it to me?",
)
_FOLLOW_UPS = (
    "Bonjour, avez-vous eu mon message ?",
    "Merci pour votre réponse rapide. J'attends donc le nouveau colis.",
    "Très bien, merci beaucoup !",
    "Je ne comprends pas : le transporteur me dit que c'est à vous d'ouvrir l'enquête.",
    "D'accord.\n\nBonne journée 🙂",
)


class Cast:
    """Draws people and what they do into the books."""

    def __init__(self, books: Books, rng: Random) -> None:
        self._books = books
        self._rng = rng
        self._serial = 0

    def customer(self, *, english: bool | None = None) -> Person:
        """Somebody new; one in eight writes English unless asked."""
        if english is None:
            english = self._rng.random() < 0.125
        street, zip_code, city = self._rng.choice(_CITIES)
        if english:
            first, last = self._rng.choice(_ENGLISH)
        else:
            first, last = self._rng.choice(_FIRST), self._rng.choice(_LAST)
        return Person(
            first,
            last,
            self._rng.choice(("MR", "MRS")),
            street,
            zip_code,
            city,
            english=english,
        )

    def order(
        self,
        customer: Person | None = None,
        *,
        lines: int = 1,
        shipped_days_ago: float | None = None,
        age: timedelta = timedelta(days=3),
    ) -> BookedOrder:
        """An order placed `age` ago, shipped some days ago or still waiting."""
        now = self._books.clock()
        created = now - age
        if shipped_days_ago is not None:
            created = min(created, now - timedelta(days=shipped_days_ago + 1))
        self._serial += 1
        letters = "".join(self._rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789") for _ in range(5))
        number = f"{created:%y%m%d%H}{self._serial % 100:02d}{letters}"
        order = BookedOrder(
            number=number,
            customer=customer or self.customer(),
            created_at=created,
            lines=[
                OrderLineEntry(
                    product.reference,
                    product.name,
                    product.price,
                    ean=product.ean,
                    product_id=f"AUC{product.ean}",
                    shipping=product.shipping,
                )
                for product in self._rng.sample(PRODUCTS, lines)
            ],
        )
        self._books.orders.add(order)
        if shipped_days_ago is not None:
            track = f"6A{self._rng.randrange(10**11):011d}"
            url = f"https://tracking.example/{track}"
            self._books.orders.ship(order, BookedParcel(track, "Colissimo", url))
            order.shipped_at = now - timedelta(days=shipped_days_ago)
            order.updated_at = order.modified_at = order.shipped_at
        return order

    def claim(
        self,
        order: BookedOrder | None = None,
        *,
        claim_type: str | None = None,
        text: str | None = None,
    ) -> BookedDiscussion:
        """A claim about an order (a shipped one by default)."""
        order = order or self.order(shipped_days_ago=5)
        kind = claim_type or self._rng.choice(list(_CLAIMS))
        line = order.lines[0]
        line.has_claim = True
        reason = _REASONS.get(kind, "Autre demande")
        return self._books.open_discussion(
            DiscussionKind.CLAIM,
            f"{reason} - {line.name} - Neuf ({line.product_id})",
            order.customer,
            text or self._words(order.customer, _CLAIMS.get(kind, _QUESTIONS)),
            order_number=order.number,
            claim_type=kind,
        )

    def order_question(
        self, order: BookedOrder | None = None, *, text: str | None = None
    ) -> BookedDiscussion:
        """A question about an order (one not shipped yet by default)."""
        order = order or self.order()
        return self._books.open_discussion(
            DiscussionKind.ORDER_QUESTION,
            f"Question sur ma commande {order.lines[0].name[:50]}",
            order.customer,
            text or self._words(order.customer, _QUESTIONS),
            order_number=order.number,
        )

    def offer_question(
        self, product: Product | None = None, *, text: str | None = None
    ) -> BookedDiscussion:
        """A question about an offer, before buying."""
        product = product or self._rng.choice(PRODUCTS)
        customer = self.customer(english=False)
        return self._books.open_discussion(
            DiscussionKind.OFFER_QUESTION,
            f"Détail produit {product.name[:50]}",
            customer,
            text or self._rng.choice(_OFFERS),
            product_ean=product.ean,
            product_reference=product.reference,
        )

    def discussion(self) -> BookedDiscussion:
        """Any of the three kinds."""
        return self._rng.choice((self.claim, self.order_question, self.offer_question))()

    def follow_up(self, discussion: BookedDiscussion) -> None:
        """The customer writes again."""
        self._books.customer_writes(discussion, self._rng.choice(_FOLLOW_UPS))

    def history(self, count: int, *, closed_share: float = 0.4) -> list[BookedDiscussion]:
        """`count` discussions, some answered and closed: a shop with a past."""
        made = []
        for _ in range(count):
            discussion = self.discussion()
            if self._rng.random() < 0.6:
                self._books.seller_writes(
                    discussion, "Bonjour, nous regardons cela et revenons vers vous. Cordialement"
                )
                if self._rng.random() < 0.5:
                    self.follow_up(discussion)
            if self._rng.random() < closed_share:
                self._books.close_by_force(discussion)
            made.append(discussion)
        return made

    def _words(self, customer: Person, texts: Sequence[str]) -> str:
        return self._rng.choice(_ENGLISH_TEXTS if customer.english else texts)
