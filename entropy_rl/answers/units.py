"""Units that a number may have after it, by all their names. A word that is not here makes text of a number."""

from __future__ import annotations


def _units() -> dict[str, str]:
    names = {
        "%": "percent",
        "deg": "degrees degree",
        "$": "dollars dollar usd us$",
        "cent": "cents \u00a2",
        "euro": "euros \u20ac",
        "\u00a3": "",
        "\u00a5": "",
        "\u20b9": "rupees rs",
        "rad": "radians radian",
        "mm": "millimeters millimeter",
        "cm": "centimeters centimeter centimetres",
        "km": "kilometers kilometer kilometres",
        "meter": "meters metre metres",
        "inch": "inches",
        "ft": "foot feet",
        "yard": "yards yd",
        "mile": "miles mi",
        "gram": "grams",
        "kg": "kilograms kilogram",
        "mg": "milligrams",
        "pound": "pounds lbs lb",
        "ounce": "ounces oz",
        "second": "seconds sec",
        "minute": "minutes min mins",
        "hour": "hours hr hrs",
        "day": "days",
        "week": "weeks",
        "month": "months",
        "year": "years",
        "liter": "liters litre litres",
        "ml": "milliliters",
        "mph": "",
        "km/h": "kph",
        "unit": "units",
        "point": "points",
        "people": "person persons",
        "apple": "apples",
        "book": "books",
        "ticket": "tickets",
        "square": "squares",
        "way": "ways",
        "time": "times",
    }
    table = {form: name for name, forms in names.items() for form in (name, *forms.split())}
    for name in ("mm", "cm", "meter", "km", "inch", "ft", "yard", "mile", "unit"):
        for form in (name, *names[name].split()):
            for power, words in (("2", ("square", "sq")), ("3", ("cubic", "cu"))):
                forms = (f"{form}^{power}", f"{form}^{{{power}}}", f"{form} ^{power}", f"{form} ^{{{power}}}")
                table |= dict.fromkeys((*forms, *(f"{w} {form}" for w in words)), f"{name}^{power}")
    for form in "m/s cm/s km/s ft/s m/min mi/h km/h mi/hr km/hr m/s^2 m/s^{2}".split() + ["m/s ^2"]:
        table[form] = form.replace("hr", "h").replace("{2}", "2").replace(" ", "")
    table["per cent"] = "%"
    return table


UNITS = _units()
