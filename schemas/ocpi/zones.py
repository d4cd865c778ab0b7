"""The time zone of a Location that does not say its own, as Locations of OCPI 2.1.1 and 2.0 may."""

from typing import Final


def main_zone(country: object) -> str | None:
    """Return the IANA zone in which most people of a country (ISO 3166-1 alpha-3) live; None where it is not listed."""
    return _ZONES.get(country) if isinstance(country, str) else None


_LISTED: Final = {
    "Africa": (
        "AGO Luanda CIV Abidjan CMR Douala DZA Algiers EGY Cairo ETH Addis_Ababa GHA Accra KEN Nairobi MAR Casablanca MOZ Maputo "
        "NAM Windhoek NGA Lagos RWA Kigali SEN Dakar TUN Tunis TZA Dar_es_Salaam UGA Kampala ZAF Johannesburg ZMB Lusaka ZWE Harare"
    ),
    "America": (
        "ARG Argentina/Buenos_Aires BOL La_Paz BRA Sao_Paulo BRB Barbados CAN Toronto CHL Santiago COL Bogota CRI Costa_Rica "
        "CUW Curacao DOM Santo_Domingo ECU Guayaquil GTM Guatemala JAM Jamaica MEX Mexico_City PAN Panama PER Lima PRI Puerto_Rico "
        "PRY Asuncion SLV El_Salvador URY Montevideo USA New_York VEN Caracas"
    ),
    "Asia": (
        "ARE Dubai ARM Yerevan AZE Baku BGD Dhaka BHR Bahrain CHN Shanghai CYP Nicosia GEO Tbilisi HKG Hong_Kong IDN Jakarta "
        "IND Kolkata IRQ Baghdad ISR Jerusalem JOR Amman JPN Tokyo KAZ Almaty KGZ Bishkek KHM Phnom_Penh KOR Seoul KWT Kuwait "
        "LBN Beirut LKA Colombo MAC Macau MNG Ulaanbaatar MYS Kuala_Lumpur NPL Kathmandu OMN Muscat PAK Karachi PHL Manila "
        "QAT Qatar SAU Riyadh SGP Singapore THA Bangkok TWN Taipei UZB Tashkent VNM Ho_Chi_Minh"
    ),
    "Atlantic": "CPV Cape_Verde FRO Faroe ISL Reykjavik",
    "Australia": "AUS Sydney",
    "Europe": (
        "ALB Tirane AND Andorra AUT Vienna BEL Brussels BGR Sofia BIH Sarajevo BLR Minsk CHE Zurich CZE Prague DEU Berlin "
        "DNK Copenhagen ESP Madrid EST Tallinn FIN Helsinki FRA Paris GBR London GGY Guernsey GIB Gibraltar GRC Athens HRV Zagreb "
        "HUN Budapest IMN Isle_of_Man IRL Dublin ITA Rome JEY Jersey LIE Vaduz LTU Vilnius LUX Luxembourg LVA Riga MCO Monaco "
        "MDA Chisinau MKD Skopje MLT Malta MNE Podgorica NLD Amsterdam NOR Oslo POL Warsaw PRT Lisbon ROU Bucharest RUS Moscow "
        "SMR San_Marino SRB Belgrade SVK Bratislava SVN Ljubljana SWE Stockholm TUR Istanbul UKR Kyiv VAT Vatican"
    ),
    "Indian": "MUS Mauritius REU Reunion SYC Mahe",
    "Pacific": "FJI Fiji NCL Noumea NZL Auckland PYF Tahiti",
}
_ZONES: Final = {
    country: f"{region}/{city}"
    for region, listed in _LISTED.items()
    for country, city in zip(listed.split()[::2], listed.split()[1::2], strict=True)
}
